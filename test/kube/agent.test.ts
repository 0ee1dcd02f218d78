/** The agent as on a node of a cluster: a strict API server, pods shaped as a kubelet leaves them, the real data plane. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PodReport, StatusReport } from '../../src/agent/api.ts';
import { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { attempt } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { netnsInode } from '../../src/pod/netns.ts';
import { pinFolder } from '../fixtures/bpffs.ts';
import { CLI } from '../fixtures/cli.ts';
import { metricsAddress, scrape } from '../fixtures/scrape.ts';
import { ApiServer } from './api_server.ts';
import { KubeNode, meshPod, PROXY, PROXY_AGAIN } from './node.ts';

const PODS = '/api/v1/pods';
const node = 'node-a';
const uid = (n: number) =>
  `3c6f8a1e-7f0b-4a51-8d2e-${String(process.pid).padStart(8, '0')}${String(n).padStart(4, '0')}`;

describe('an agent on a node of a cluster', () => {
  const stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'shunt-kube-'));
  const kubeconfig = join(folder, 'kubeconfig');
  const socket = join(folder, 'agent.sock');
  const folderOfPins = pinFolder(`shunt-kube${process.pid}`);
  const client = new AgentClient(socket);
  let kube: KubeNode;
  let server: ApiServer;
  let port: number;
  let agent: LabProcess | null = null;

  const pins = ['--bpffs', folderOfPins.path, '--socket', socket];
  async function start(reconcileSeconds = 3600): Promise<void> {
    const source = ['--kubeconfig', kubeconfig, '--node-name', node, '--cgroup', kube.cgroup.path];
    const argv = [
      ...CLI,
      'agent',
      ...source,
      ...pins,
      '--reconcile-interval',
      String(reconcileSeconds),
      '--metrics',
      '127.0.0.1:0',
    ] as const;
    agent = await LabProcess.start('agent', [...argv], { logFile: join(folder, 'agent.log') });
    await until(
      async () => {
        agent?.assertRunning();
        return client.status().catch((error: unknown) => {
          if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
          throw error;
        });
      },
      { what: 'the agent', timeoutMs: 60_000 },
    );
  }

  async function settled(what: string, seen: (pods: PodReport[], status: StatusReport) => boolean) {
    return until(
      async () => {
        const [pods, status] = [await client.pods(), await client.status()];
        return seen(pods, status) ? { pods, status } : undefined;
      },
      { what, timeoutMs: 60_000, everyMs: 50 },
    );
  }

  const stateOf = (pods: PodReport[], of: string) => pods.find((each) => each.uid === of)?.state;

  before(async () => {
    kube = stack.use(new KubeNode('agent'));
    server = await ApiServer.start();
    port = server.port;
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [
          { name: 'c', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
        ],
        users: [{ name: 'u', user: {} }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        'current-context': 'x',
      }),
    );
  });

  after(async () => {
    await agent?.stop('SIGKILL', 10_000);
    await attempt([...CLI, 'cleanup', ...pins]);
    await server?.[Symbol.asyncDispose]();
    await stack.disposeAsync();
    folderOfPins[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it('enrolls a pod that ran before it, where it finds it, and not where the pod says it is', async () => {
    const pod = await kube.start(uid(1), '10.9.0.7');
    const metadata = { annotations: { 'shunt.dev/netns': '/proc/1/ns/net' } };
    server.put(PODS, meshPod(uid(1), { node, address: '10.9.0.7', metadata }));
    server.put(PODS, meshPod(uid(2), { node: 'node-b', address: '10.9.0.8' }));
    server.put(PODS, meshPod(uid(3), { node, address: '10.9.0.9', spec: { hostNetwork: true } }));
    server.put(PODS, meshPod(uid(4), { node, phase: 'Succeeded' }));
    await start();
    const { pods, status } = await settled('the pod', (seen) => stateOf(seen, uid(1)) === 'enrolled');
    const report = pods.find((each) => each.uid === uid(1));
    assert.equal(netnsInode(report?.netns?.path ?? ''), netnsInode(pod.netns.path));
    assert.equal(report?.identity, 'cgroup');
    assert.equal(report?.ip4, '10.9.0.7');
    assert.equal(stateOf(pods, uid(2)), undefined, 'pods of other nodes are not known');
    assert.match(pods.find((each) => each.uid === uid(3))?.reason ?? '', /host's network/);
    assert.match(pods.find((each) => each.uid === uid(4))?.reason ?? '', /ended: Succeeded/);
    assert.equal(status.source.kind, 'kubernetes');
    assert.deepEqual([server.count('LIST'), server.count('WATCH')], [1, 1]);
  });

  it('enrolls a pod of which it hears before there is a process, once there is one, asking nothing more', async () => {
    server.put(PODS, meshPod(uid(5), { node, phase: 'Pending' }));
    const { pods } = await settled('the pod', (seen) => stateOf(seen, uid(5)) === 'failed');
    assert.equal(pods.find((each) => each.uid === uid(5))?.error?.code, 'SHUNT_E_POD_NOT_STARTED');
    await kube.start(uid(5), '10.9.0.15');
    await settled('the enrolment', (seen) => stateOf(seen, uid(5)) === 'enrolled');
    server.put(PODS, meshPod(uid(5), { node, address: '10.9.0.15' }));
    await settled('what the kubelet reports of it', (seen) =>
      seen.some((each) => each.uid === uid(5) && each.identity === 'cgroup'),
    );
    assert.deepEqual([server.count('LIST'), server.count('WATCH')], [1, 1]);
  });

  it('tells a sidecar by its user from the end of its container, though the server says nothing, until it names the new one', async () => {
    const pod = await kube.start(uid(8), '10.9.0.18');
    server.put(PODS, meshPod(uid(8), { node, address: '10.9.0.18' }));
    const identity = (pods: PodReport[]) => pods.find((each) => each.uid === uid(8))?.identity;
    await settled('the container', (pods) => identity(pods) === 'cgroup');
    await pod.endContainer(PROXY);
    const { pods } = await settled('its end', (seen) => identity(seen) === 'uid');
    assert.equal(stateOf(pods, uid(8)), 'enrolled');
    await pod.run(PROXY_AGAIN);
    server.put(PODS, meshPod(uid(8), { node, address: '10.9.0.18', sidecar: PROXY_AGAIN }));
    await settled('the new container', (seen) => identity(seen) === 'cgroup');
    await pod.end();
    server.remove(uid(8));
    await settled('its end', (seen) => stateOf(seen, uid(8)) === undefined);
    const failures = readFileSync(join(folder, 'agent.log'), 'utf8').match(/"level":"error".*/g);
    assert.equal(failures, null, 'that a pod ends before the server says so is no error');
  });

  it('counts what the watch brings, and when it last did', async () => {
    const metrics = () => scrape(metricsAddress(readFileSync(join(folder, 'agent.log'), 'utf8')));
    const before = await metrics();
    const events = (type: string) => `shunt_watch_events_total{resource="pods",type="${type}"}`;
    const last = 'shunt_watch_last_event_timestamp_seconds{resource="pods"}';
    server.put(PODS, meshPod(uid(9), { node, phase: 'Pending', spec: { hostNetwork: true } }));
    server.put(PODS, meshPod(uid(9), { node, phase: 'Running', spec: { hostNetwork: true } }));
    server.remove(uid(9));
    server.bookmark();
    const after = await until(
      async () => {
        const now = await metrics();
        return now.get(events('bookmark')) === (before.get(events('bookmark')) ?? 0) + 1 ? now : undefined;
      },
      { what: 'the bookmark', everyMs: 20 },
    );
    for (const type of ['added', 'modified', 'deleted'])
      assert.equal(after.get(events(type)), (before.get(events(type)) ?? 0) + 1, type);
    assert.ok((after.get(last) ?? 0) > (before.get(last) ?? 0));
    assert.equal(after.get('shunt_watch_lists_total{resource="pods"}'), 1);
    assert.equal(after.get('shunt_drift_repaired_total'), 0, 'that a pod starts is no drift');
    server.endWatches();
    await until(
      async () => {
        const ended = 'shunt_watch_restarts_total{resource="pods",reason="ended"}';
        return (await metrics()).get(ended) === 1 ? true : undefined;
      },
      { what: 'the watch to go on', everyMs: 20 },
    );
    assert.equal((await metrics()).get('shunt_watch_lists_total{resource="namespaces"}'), undefined);
  });

  it('tells of an annotation that is not taken, by an Event and a line of the log that name pod, annotation and value', async () => {
    const posted = () =>
      server.requests.flatMap(({ kind, body }) => (kind === 'POST' ? [JSON.stringify(body)] : []));
    const lines = () => readFileSync(join(folder, 'agent.log'), 'utf8').split('\n');
    const annotated = (n: number, annotation: string, value: string) =>
      server.put(
        PODS,
        meshPod(uid(n), { node, phase: 'Pending', metadata: { annotations: { [annotation]: value } } }),
      );
    annotated(21, 'shunt.dev/acceleration', 'fast');
    annotated(22, 'traffic.sidecar.istio.io/excludeOutboundPorts', '80,many');
    await server.until('both events', () => server.count('POST') === 2);
    const [taken, rejected] = posted();
    assert.match(taken ?? '', /"reason":"ShuntAnnotation","message":"shunt\.dev\/acceleration=\\"fast\\": /);
    assert.match(rejected ?? '', /"reason":"ShuntRejected".*excludeOutboundPorts=\\"80,many\\"/);
    const logged = (n: number, what: RegExp) =>
      lines().filter((line) => line.includes(`shop/web-${uid(n).slice(-4)}`) && what.test(line)).length;
    assert.equal(
      logged(21, /"event":"annotation".*"annotation":"shunt\.dev\/acceleration","value":"fast"/),
      1,
    );
    assert.equal(logged(22, /"event":"pod-failed".*excludeOutboundPorts=.*80,many/), 1);
    await client.reconcile();
    assert.equal(server.count('POST'), 2, 'told once');
    for (const n of [21, 22]) server.remove(uid(n));
    await settled('their end', (pods) => stateOf(pods, uid(22)) === undefined);
  });

  it('keeps a pod that was deleted by force until nothing of it runs', async () => {
    const pod = await kube.start(uid(6), '10.9.0.16');
    server.put(PODS, meshPod(uid(6), { node, address: '10.9.0.16' }));
    await settled('the enrolment', (seen) => stateOf(seen, uid(6)) === 'enrolled');
    server.remove(uid(6));
    // The server tells of events in order: once it told of another, it told of the deletion.
    server.put(PODS, meshPod(uid(7), { node, phase: 'Failed' }));
    const { pods } = await settled('the next event', (seen) => stateOf(seen, uid(7)) === 'left');
    assert.equal(stateOf(pods, uid(6)), 'enrolled');
    await pod.end();
    await settled('the withdrawal', (seen) => stateOf(seen, uid(6)) === undefined);
  });

  it('goes on without the API server, and a next agent without it keeps what it finds in force', async () => {
    await server[Symbol.asyncDispose]();
    const { pods } = await settled('the error', (_, status) => status.source.rejected.length > 0);
    assert.equal(stateOf(pods, uid(1)), 'enrolled');
    await agent?.stop('SIGKILL', 10_000);
    await start(1);
    const { status } = await settled('its first pass', (_, seen) => seen.drift.outstanding.length > 0);
    assert.equal(status.source.rejected[0]?.code, 'SHUNT_E_KUBE_UNREACHABLE');
    assert.equal(status.adopted.pods, 2);
    assert.ok(status.maps.length > 0);

    server = await ApiServer.start(null, port);
    server.put(PODS, meshPod(uid(1), { node, address: '10.9.0.7' }));
    const after = await settled('the pod', (seen) => stateOf(seen, uid(1)) === 'enrolled');
    assert.deepEqual(after.status.source.rejected, []);
    const { status: last } = await settled(
      'the pod that is known no more to go',
      (seen) => stateOf(seen, uid(5)) === undefined,
    );
    assert.equal(last.pods.enrolled, 1);
    const { checkedAt } = last.drift;
    const swept = await settled('the next sweep', (_, { drift }) => drift.checkedAt > checkedAt);
    assert.equal(swept.status.pods.enrolled, 1);
    assert.deepEqual(swept.status.drift.repaired, []);
    assert.deepEqual(swept.status.drift.outstanding, []);
  });
});
