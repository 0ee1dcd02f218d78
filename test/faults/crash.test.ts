/** Agents that end at any moment: nothing breaks, nothing bypasses, and the next one takes over what it finds. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { patient, until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { ADOPTED, FaultBed } from './bed.ts';

/** Kills spread over the time from the start of the process to some time after it is ready. */
const KILLS = 12;
const WINDOW_MS = patient(900);

describe('agents that are killed', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('crash');
  });
  after(() => bed?.[Symbol.asyncDispose]());

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    it(`leave a node that the next agent completes, after ${signal} at ${KILLS} moments of a first enrolment`, async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const agent = await bed.launch();
        await delay((WINDOW_MS * kill) / KILLS);
        await agent.stop(signal, 5_000);
        const status = await bed.start();
        assert.equal(status.pods.enrolled, 2, `after a kill at ${(WINDOW_MS * kill) / KILLS} ms`);
        const report = await bed.client.reconcile();
        assert.deepEqual(report, { repaired: [], outstanding: [] });
        assert.ok(await bed.redirected());
        await bed.stop();
        assert.equal((await bed.cli('cleanup')).code, 0);
      }
    });
  }

  it('let no connection of an enrolled pod break or bypass its sidecar, whenever they come and go', async () => {
    await bed.start();
    const client = await bed.lab.pod('a').client();
    const target = { host: bed.lab.pod('b').address(4), port: APP_PORT };
    await client.soak([target], 5);
    for (let kill = 0; kill < 6; kill++) {
      await bed.stop('SIGKILL');
      await client.tally(5);
      const agent = await bed.launch();
      await delay(150 * kill);
      await agent.stop('SIGKILL');
    }
    await bed.start();
    await client.tally(5);
    const [tally] = await client.halt();
    assert.ok(tally);
    assert.deepEqual(tally.failures, []);
    assert.deepEqual(tally.direct, []);
    assert.ok(tally.connections > 30 && tally.requests > 30, JSON.stringify(tally));
    const status = await bed.client.status();
    assert.deepEqual(status.adopted, ADOPTED);
    assert.deepEqual(status.drift.repaired, []);
    assert.deepEqual(status.drift.outstanding, []);
    await bed.stop();
  });

  it('take a sidecar back whose container restarted in a new cgroup', async () => {
    await bed.start();
    const pod = bed.lab.pod('b');
    const { cgroup } = pod.place('sidecar');
    assert.ok(cgroup);
    await pod.sidecar.stop();
    const before = statSync(cgroup).ino;
    rmdirSync(cgroup);
    mkdirSync(cgroup);
    assert.notEqual(statSync(cgroup).ino, before);
    await pod.sidecar.start();
    // Until the agent has looked, the new container is not known and its traffic is refused or captured, never passed.
    await until(async () => (await bed.redirected().catch(() => false)) || undefined, {
      what: 'the sidecar to be known again',
    });
    await bed.stop();
  });

  it('leave pods of manifests that cannot be read enrolled at the next start, and say so', async () => {
    await bed.stop('SIGKILL');
    await bed.start();
    await bed.stop('SIGKILL');
    const file = `${bed.lab.manifests}/a.yaml`;
    renameSync(file, `${file}.away`);
    writeFileSync(`${bed.lab.manifests}/broken.yaml`, 'kind: Pod\n  bad: [');
    const status = await bed.start();
    assert.equal(status.drift.outstanding.length, 1);
    assert.match(status.drift.outstanding[0] ?? '', /is kept/);
    assert.ok(await bed.redirected());
    // Once every manifest is understood, a pod that none names is withdrawn.
    await bed.remove(
      'broken.yaml',
      (seen) => seen.source.rejected.length === 0 && seen.drift.outstanding.length === 0,
    );
    const client = await bed.lab.pod('a').client();
    await using direct = await client.connect({ host: bed.lab.outside.address(4), port: APP_PORT });
    assert.equal((await direct.who()).peer, direct.local);
    renameSync(`${file}.away`, file);
    await bed.settled((seen) => seen.pods.enrolled === 2);
    assert.ok(await bed.redirected());
  });
});
