/**
 * One node from end to end, with the agent out of the image and no more than the manifest gives it: a pod is scheduled
 * by a real API server, a real runtime calls the chain, its first packet is captured, it is deleted, and nothing is left.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../src/lab/command.ts';
import { PASSTHROUGH } from '../../src/lab/istio.ts';
import { imageArchive } from '../image/archive.ts';
import type { Container } from '../image/container.ts';
import { AGENT_USER, NodeBed } from './bed.ts';
import type { NodePod } from './pod.ts';

const PORT = 8080;
const BY_SIDECAR = `peer ${PASSTHROUGH.ip4}`;

const skip = imageArchive() === null && 'npm run test:node makes the image, and runs this';
describe('a node with the agent out of the image', { skip, timeout: 300_000 }, () => {
  const stop = new AbortController();
  let bed: NodeBed;
  let agent: Container;
  let [a, b]: NodePod[] = [];
  let empty: Record<string, number | null>;

  before(async () => {
    bed = await NodeBed.open('e', stop.signal);
    agent = await bed.startAgent();
    empty = await bed.mapEntries();
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
    stop.abort();
  });

  const pods = (): readonly [NodePod, NodePod] => {
    assert.ok(a !== undefined && b !== undefined);
    return [a, b];
  };
  /** What is attached to the pods' cgroup or below, by anybody's account. */
  const attached = async (): Promise<unknown[]> =>
    JSON.parse(await run(['bpftool', '--json', 'cgroup', 'tree', bed.kubepods]));
  const rules = async (pod: NodePod): Promise<string> => {
    return run(['nsenter', `--net=${await pod.netns()}`, 'iptables-save']);
  };

  it('reads pods with the token of its service account, and puts its plugin behind the primary one', async () => {
    const { source, backend, backendReason } = await bed.client.status();
    assert.equal(source.kind, 'kubernetes');
    assert.deepEqual(source.rejected, []);
    assert.equal(backend, 'ebpf', backendReason);
    await bed.settled('the chain', () => /shunt-cni/.test(readFileSync(bed.conflist, 'utf8')) || undefined);
    const { plugins } = JSON.parse(readFileSync(bed.conflist, 'utf8'));
    assert.deepEqual(
      plugins.map(({ type }: { type: string }) => type),
      ['bridge', 'shunt-cni'],
    );
    assert.ok(bed.plugins().includes('shunt-cni'));
    assert.notDeepEqual(await attached(), [], 'so that its absence later says something');
  });

  it('enrolls a pod that is scheduled here when the runtime makes its sandbox, before anything runs in it', async () => {
    a = await bed.schedule('web');
    b = await bed.schedule('api');
    await bed.settled('both pods', (known) => (known.length === 2 ? true : undefined));
    for (const pod of pods()) {
      await pod.runSandbox();
      // ADD has answered: it is not waited for.
      const report = (await bed.client.pods()).find(({ uid }) => uid === pod.uid);
      assert.equal(report?.state, 'enrolled', agent.log());
      assert.equal(report?.ip4, pod.address);
      assert.equal(
        report?.netns?.path.replace('/var/run/', '/run/'),
        (await pod.netns()).replace('/var/run/', '/run/'),
      );
    }
    assert.equal(bed.attachments().length, 2);
  });

  it('refuses what comes before the sidecar listens', async () => {
    const [web, api] = pods();
    await api.serve(PORT);
    assert.equal(await web.connecting('early', api.address, PORT), 'refused');
  });

  it('captures the first packet of either pod, at both ends', async () => {
    const [web, api] = pods();
    await web.serve(PORT);
    for (const pod of pods()) await pod.runSidecar();
    await bed.settled('the containers of the sidecars', (known) =>
      known.every(({ identity }) => identity === 'cgroup') ? true : undefined,
    );
    for (const [from, to] of [
      [web, api],
      [api, web],
    ] as const) {
      const [sent, received] = [from.accessLog.records().length, to.accessLog.records().length];
      assert.equal(await from.connecting('first', to.address, PORT), BY_SIDECAR, agent.log());
      const out = await from.accessLog.next('outbound', sent);
      const into = await to.accessLog.next('inbound', received);
      assert.equal(out.originalDst, `${to.address}:${PORT}`);
      assert.match(out.peer, new RegExp(`^${RegExp.escape(from.address)}:`));
      assert.equal(into.originalDst, `${to.address}:${PORT}`);
      // Sidecar to sidecar: nothing in between took part.
      assert.equal(into.peer, out.source);
    }
  });

  it('forgets pods that are deleted: no map entry, no record, no address', async () => {
    for (const pod of pods()) await pod.delete();
    await bed.settled('both to be forgotten', (known) => (known.length === 0 ? true : undefined));
    assert.deepEqual(await bed.mapEntries(), empty);
    assert.deepEqual(bed.attachments(), []);
    assert.deepEqual(bed.leases(), []);
  });

  it('asked the API server for one LIST and one WATCH, and for nothing else', () => {
    assert.deepEqual(
      bed.cluster.audit(AGENT_USER).map(({ verb, resource }) => `${verb} ${resource}`),
      ['list pods', 'watch pods'],
    );
  });

  it('is uninstalled without a trace, while pods run', async () => {
    const [from, to] = [await bed.schedule('last'), await bed.schedule('its-peer')];
    await bed.settled('the pods', (known) => (known.length === 2 ? true : undefined));
    for (const pod of [from, to]) await pod.runSandbox();
    await to.serve(PORT);
    assert.equal(await from.connecting('before', to.address, PORT), 'refused');
    assert.equal(await agent.stop(), 0, agent.log());
    assert.equal(await from.connecting('without-agent', to.address, PORT), 'refused', 'in force without it');
    bed.image.cleanUp();
    assert.deepEqual(readdirSync(bed.image.bpffs), []);
    assert.deepEqual(await attached(), []);
    assert.doesNotMatch(readFileSync(bed.conflist, 'utf8'), /shunt-cni/);
    assert.deepEqual(bed.plugins(), ['bridge', 'host-local', 'loopback']);
    assert.deepEqual(readdirSync(join(bed.image.folder, 'run')), []);
    for (const pod of [from, to]) assert.doesNotMatch(await rules(pod), /-A/);
    assert.equal(await from.connecting('after', to.address, PORT), `peer ${from.address}`);
    for (const pod of [from, to]) await pod.delete();
    assert.deepEqual(bed.leases(), []);
  });
});
