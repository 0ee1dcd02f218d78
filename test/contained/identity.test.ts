/** Who is the sidecar: its container's cgroup and its user, and the user alone for as long as the cgroup is not known. */
import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { DatapathEvent } from '../../src/datapath/interface.ts';
import { run } from '../../src/lab/command.ts';
import { placed } from '../../src/lab/process.ts';
import { FaultBed, type LogLine } from '../faults/bed.ts';
import { APP_PORT, ContainedBed } from './bed.ts';

describe("a process of the application's container under the sidecar's user", () => {
  let bed: ContainedBed;
  const stop = new AbortController();
  const events: DatapathEvent[] = [];
  let listening: Promise<void>;
  before(async () => {
    bed = await ContainedBed.open('identity');
    listening = (async () => {
      for await (const event of bed.datapath.events(stop.signal)) events.push(event);
    })();
  });
  after(async () => {
    stop.abort();
    await listening;
    await bed?.[Symbol.asyncDispose]();
  });

  /** In what is counted and told of, what one connection adds. */
  async function told(connect: () => ReturnType<ContainedBed['connect']>) {
    const [impersonated, passed] = [bed.counter('impersonated'), bed.counter('sidecarPassed')];
    events.length = 0;
    const saw = await connect();
    // An impersonation of its own, to be told of after whatever the connection was told of.
    await bed.enroll(true);
    await bed.connect('impersonator', bed.outside.ip4, MARK);
    while (!events.some(({ destination }) => destination.endsWith(`:${MARK}`))) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return {
      ...{ landing: saw.landing, original: saw.original },
      impersonated: bed.counter('impersonated') - impersonated - 1n,
      passed: bed.counter('sidecarPassed') - passed,
      events: events.filter(({ destination }) => !destination.endsWith(`:${MARK}`)),
    };
  }

  const outside = () => `${bed.outside.ip4}:${APP_PORT}`;

  it('is captured like the application, counted and told of, once the cgroup is known', async () => {
    await bed.enroll(true);
    const {
      landing,
      original,
      impersonated,
      passed,
      events: seen,
    } = await told(() => bed.connect('impersonator'));
    assert.deepEqual([landing, original, impersonated, passed], ['sidecar:15001', outside(), 1n, 0n]);
    const [event, ...more] = seen;
    assert.deepEqual(more, []);
    assert.equal(event?.kind, 'impersonation');
    assert.deepEqual([event.uid, event.gid, event.destination], [1337, 1337, outside()]);
    assert.equal(event.netns, bed.workload.netns.cookie);
    assert.equal(event.comm, 'probe');
  });

  it('is no threat to the sidecar itself, which passes unseen', async () => {
    await bed.enroll(true);
    const { landing, impersonated, passed, events: seen } = await told(() => bed.connect('sidecar'));
    assert.deepEqual([landing, impersonated, passed, seen], [`outside:${APP_PORT}`, 0n, 1n, []]);
  });

  it('leaves what runs in cgroups below that of the sidecar its rights', async () => {
    await bed.enroll(true);
    mkdirSync(join(bed.container('sidecar'), 'worker'));
    const { landing, impersonated } = await told(() =>
      bed.connect('sidecar', undefined, undefined, 'worker'),
    );
    assert.deepEqual([landing, impersonated], [`outside:${APP_PORT}`, 0n]);
  });

  it('counts as the sidecar for as long as the cgroup is not known, and no longer', async () => {
    await bed.enroll(false);
    const within = await told(() => bed.connect('impersonator'));
    assert.deepEqual([within.landing, within.impersonated, within.passed], [`outside:${APP_PORT}`, 0n, 1n]);
    assert.deepEqual(within.events, []);
    await bed.enroll(true);
    const beyond = await told(() => bed.connect('impersonator'));
    assert.deepEqual([beyond.landing, beyond.impersonated], ['sidecar:15001', 1n]);
  });

  it('is the application to the rest of the pod within that time as well: another user is captured', async () => {
    await bed.enroll(false);
    assert.equal((await bed.connect('app')).landing, 'sidecar:15001');
  });
});

/** Nobody is asked for it but by the test's own mark. */
const MARK = 7;

describe('a sidecar whose container restarts', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('restart');
    await bed.start();
  });
  after(() => bed?.[Symbol.asyncDispose]());

  const identity = async (): Promise<string | null | undefined> =>
    (await bed.client.pods()).find(({ name }) => name === 'pod-b')?.identity;
  const impersonations = (): LogLine[] => bed.log().filter(({ event }) => event === 'impersonation');

  it('is told by its user while it has no cgroup, and by the new one before its first connection', async () => {
    const pod = bed.lab.pod('b');
    const { cgroup } = pod.place('sidecar');
    assert.ok(cgroup);
    assert.equal(await identity(), 'cgroup');
    await pod.sidecar.stop();
    const before = statSync(cgroup).ino;
    rmdirSync(cgroup);
    // Nothing but the directory tells the agent: no connection, and the next pass is a minute away.
    await bed.settled((_, pods) => pods.find(({ name }) => name === 'pod-b')?.identity === 'uid');
    mkdirSync(cgroup);
    assert.notEqual(statSync(cgroup).ino, before);
    await bed.settled((_, pods) => pods.find(({ name }) => name === 'pod-b')?.identity === 'cgroup');
    await pod.sidecar.start();
    assert.ok(await bed.redirected());
    assert.deepEqual(impersonations(), []);
  });

  it('has no double: its user in another container is told of by the agent', async () => {
    const pod = bed.lab.pod('b');
    const { netns, cgroup } = pod.place('app');
    const { uid, gid } = pod.place('sidecar');
    assert.ok(netns && cgroup && uid !== undefined && gid !== undefined);
    const host = bed.lab.outside.address(4);
    const connect = ['bash', '-c', `exec 3<>/dev/tcp/${host}/80`] as const;
    // Captured: the sidecar takes it, and closes what it cannot forward.
    await run(placed({ netns, cgroup, uid, gid }, connect));
    await bed.settled(
      (_, pods) => (pods.find(({ name }) => name === 'pod-b')?.held?.counters.impersonated ?? 0n) > 0n,
    );
    const [line] = impersonations();
    assert.deepEqual([line?.pod, line?.uid, line?.comm], ['default/pod-b', uid, 'bash']);
  });
});
