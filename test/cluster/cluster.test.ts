/**
 * The DaemonSet of the chart on a cluster of real parts, from its installation over an upgrade under traffic to its
 * removal: API server, scheduler, controllers, kubelet, containerd.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as v from 'valibot';
import { renderChart } from '../../daemonset/render/chart.ts';
import { waitClean } from '../../src/datapath/ebpf/cleanup.ts';
import { cgroup2Mount } from '../../src/lab/cgroup.ts';
import { run } from '../../src/lab/command.ts';
import { PASSTHROUGH } from '../../src/lab/istio.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { scrape } from '../fixtures/scrape.ts';
import { imageArchive } from '../image/archive.ts';
import { BIN_DIR, ClusterNode, NET_DIR, type RunningPod } from './node.ts';
import { deployment, NAMESPACE, shop } from './workload.ts';

const SYSTEM = 'kube-system';
const AGENT = 'app.kubernetes.io/name=shunt';
const DAEMON_SET = `/apis/apps/v1/namespaces/${SYSTEM}/daemonsets/shunt`;
/** Of the agent, which has the node's network. */
const METRICS = '127.0.0.1:15090';
const PORT = 8080;
const BY_SIDECAR = `peer ${PASSTHROUGH.ip4}`;
/** Requests that a soak makes before and after what happens. */
const REQUESTS = 200;

const DaemonSet = v.object({
  metadata: v.object({ generation: v.number() }),
  status: v.object({
    observedGeneration: v.optional(v.number(), 0),
    updatedNumberScheduled: v.optional(v.number(), 0),
    numberReady: v.number(),
  }),
});

const archive = imageArchive();
const skip =
  (archive === null || process.env.SHUNT_TEST_MACHINE === undefined) && 'npm run test:cluster runs this';
describe('a cluster', { skip, timeout: 580_000 }, () => {
  const stop = new AbortController();
  let node: ClusterNode;
  let [server, soak]: RunningPod[] = [];
  /** Nothing of Shunt was in this kernel before. */
  let alone: boolean;

  before(async () => {
    alone = (await waitClean('/sys/fs/bpf', 5_000)).length === 0;
    const startedAt = performance.now();
    node = await ClusterNode.start({ 'docker.io/library/shunt:0.1.0': archive ?? '' }, stop.signal);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    process.stdout.write(
      `Kubernetes ${await node.cluster.version()}: the node is ready after ${seconds} s\n`,
    );
    await node.cluster.apply(shop());
  });
  after(async () => {
    await node?.[Symbol.asyncDispose]();
    stop.abort();
  });

  const conflist = () => readFileSync(join(NET_DIR, '10-net.conflist'), 'utf8');
  const said = (): string[] => (soak === undefined ? [] : node.output(NAMESPACE, soak, 'app'));
  /** Installs, or changes, the release, as `helm upgrade` does, and waits for its rollout. */
  async function release(values: Record<string, unknown>, timeoutMs?: number): Promise<void> {
    await node.cluster.apply(renderChart(values));
    await node
      .until(
        'the rollout',
        async () => {
          const answer = await node.cluster.admin.get(DAEMON_SET, {}, stop.signal);
          const { metadata, status } = v.parse(DaemonSet, answer);
          const { observedGeneration, updatedNumberScheduled, numberReady } = status;
          const done = observedGeneration === metadata.generation && updatedNumberScheduled === 1;
          return done && numberReady === 1 ? true : undefined;
        },
        timeoutMs,
      )
      .catch((cause: unknown) => {
        throw new Error(`the rollout did not end:\n${node.lastWords(SYSTEM)}`, { cause });
      });
  }
  /** Waits until the soak has made so many more requests. */
  async function requests(count: number): Promise<void> {
    const from = said().length;
    await node.until('requests', async () => (said().length >= from + count ? true : undefined));
  }

  it('runs the DaemonSet of the chart with its default values, and no pod of it fails', async () => {
    await release({});
    const [agent] = await node.ready(SYSTEM, AGENT, 1);
    assert.equal(agent?.restarts, 0);
    await node.until('the chain', async () => (/shunt-cni/.test(conflist()) ? true : undefined));
    assert.ok(readdirSync('/sys/fs/bpf').includes('shunt'));
  });

  it('captures what pods of the mesh say to each other from their first packet, at both ends', async () => {
    await node.cluster.apply([deployment('server', 1, ['serve', String(PORT)])]);
    [server] = await node.ready(NAMESPACE, 'app=server', 1);
    await node.cluster.apply([deployment('soak', 1, ['soak', server?.address ?? '', String(PORT)])]);
    [soak] = await node.ready(NAMESPACE, 'app=soak', 1);
    await requests(REQUESTS);
    // Until its sidecar listened it was refused; never did it pass.
    const kinds = new Set(said());
    kinds.delete('refused');
    assert.deepEqual([...kinds], [BY_SIDECAR]);
    assert.ok(server !== undefined && soak !== undefined);
    const records = (pod: RunningPod) =>
      node.output(NAMESPACE, pod, 'istio-proxy').flatMap((line) => SIDECARS.envoy.parse(line) ?? []);
    const out = records(soak).find(({ direction }) => direction === 'outbound');
    const into = records(server).find(({ direction }) => direction === 'inbound');
    assert.equal(out?.originalDst, `${server.address}:${PORT}`);
    assert.equal(into?.originalDst, `${server.address}:${PORT}`);
    const metrics = await scrape(METRICS);
    assert.equal(metrics.get('shunt_impersonations_total'), 0);
  });

  it('lets no request fail while the agent is replaced, and pods that start meanwhile are captured', async () => {
    const from = said().length;
    await Promise.all([
      release({ podAnnotations: { 'shunt.dev/restarted': 'once' } }),
      node.cluster.apply([deployment('server', 2, ['serve', String(PORT)])]),
    ]);
    await node.ready(NAMESPACE, 'app=server', 2);
    await requests(REQUESTS);
    const during = said().slice(from);
    assert.deepEqual([...new Set(during)], [BY_SIDECAR]);
    process.stdout.write(`requests during the rollout and after it: ${during.length}, failed: 0\n`);
    const [client] = await node.pods(NAMESPACE, 'app=soak');
    assert.equal(client?.restarts, 0);
  });

  it('is rid of it all when the release is turned to cleanup and removed', async (t) => {
    if (alone) await release({ mode: 'cleanup' });
    else {
      // `shunt cleanup --verify` looks at the whole kernel, so it does not end well before the others are done.
      t.diagnostic('others use Shunt on this kernel: the third container of the cleanup is not waited for');
      await node.cluster.apply(renderChart({ mode: 'cleanup' }));
      await node.until('the cleanup', async () => {
        const passed = (await node.pods(SYSTEM, AGENT)).flatMap((pod) => pod.passed);
        return passed.join(' ').startsWith('cni-uninstall cleanup') ? true : undefined;
      });
    }
    await requests(1);
    const from = said().length;
    await requests(REQUESTS);
    assert.deepEqual(
      [...new Set(said().slice(from))],
      [`peer ${soak?.address}`],
      'nothing redirects any more',
    );
    await node.cluster.admin.delete(DAEMON_SET, {}, stop.signal);
    await node.until('its end', async () =>
      (await node.pods(SYSTEM, AGENT)).length === 0 ? true : undefined,
    );
    assert.doesNotMatch(conflist(), /shunt-cni/);
    assert.deepEqual(readdirSync(BIN_DIR).sort(), ['bridge', 'host-local', 'loopback']);
    assert.ok(!readdirSync('/sys/fs/bpf').includes('shunt'));
    assert.deepEqual(readdirSync('/run/shunt'), []);
    const attached = await run(['bpftool', '--json', 'cgroup', 'tree', join(cgroup2Mount(), 'kubepods')]);
    assert.deepEqual(JSON.parse(attached), []);
  });
});
