import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ApiServer, type StoredObject } from '../../../test/kube/api_server.ts';
import { plainCredentials } from '../../../test/kube/plain_credentials.ts';
import { patient } from '../../lab/deadline.ts';
import type { Snapshot } from '../files.ts';
import type { PodObject } from '../workload.ts';
import { ApiConnection } from './connection.ts';
import { readKubernetesPod } from './pod_object.ts';
import { KubernetesSource, type KubernetesSourceOptions } from './source.ts';

const PODS = '/api/v1/pods';
const NAMESPACES = '/api/v1/namespaces';

function pod(uid: string, metadata: object = {}, spec: object = {}, status: object = {}): StoredObject {
  return {
    metadata: { name: `pod-${uid}`, namespace: 'shop', uid, ...metadata },
    spec: { nodeName: 'node-a', containers: [{ name: 'app' }], ...spec },
    status: { phase: 'Running', ...status },
  };
}

interface Opened extends AsyncDisposable {
  source: KubernetesSource;
  /** The first snapshot that fits. */
  until(fits: (snapshot: Snapshot) => boolean): Promise<Snapshot>;
  running: Set<string>;
}

function open(server: ApiServer, options: Partial<KubernetesSourceOptions> = {}): Opened {
  const connection = new ApiConnection(plainCredentials(server.port));
  const running = new Set<string>();
  const stop = new AbortController();
  const source = new KubernetesSource({
    connection,
    nodeName: 'node-a',
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(patient(60_000))]),
    isRunning: (each) => running.has(each.metadata.uid ?? ''),
    needsNamespace: () => false,
    timings: { backoff: { shortestMs: 1, longestMs: 20 }, watchSeconds: 290, shortWatchMs: 1_000 },
    lingerMs: 10,
    ...options,
  });
  const snapshots = source.snapshots();
  return {
    source,
    running,
    until: async (fits) => {
      for (let next = await snapshots.next(); next.done !== true; next = await snapshots.next()) {
        if (fits(next.value)) return next.value;
      }
      throw new Error('no snapshot fits');
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await snapshots.return();
      connection[Symbol.dispose]();
    },
  };
}

const uids = (snapshot: Snapshot) => snapshot.pods.map((each) => each.pod.metadata.uid).sort();
const always = () => true;

test('the first snapshot has all pods of the node, later ones say which changed', async () => {
  await using server = await ApiServer.start();
  for (const uid of ['a', 'b']) server.put(PODS, pod(uid));
  await using opened = open(server);
  const first = await opened.until(always);
  assert.deepEqual(uids(first), ['a', 'b']);
  assert.equal(first.changed, null, 'anything may have');
  assert.deepEqual(first.rejected, []);
  await server.until('the watch', () => server.watches === 1);
  server.put(PODS, pod('c'));
  const second = await opened.until((snapshot) => snapshot.pods.length === 3);
  assert.deepEqual([...(second.changed ?? [])], ['c']);
});

test('a server that cannot be reached gives a snapshot that says so, and later the pods', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  server.failNext('LIST', { status: 503 });
  await using opened = open(server);
  const first = await opened.until(always);
  assert.deepEqual([first.pods.length, first.rejected[0]?.error.code], [0, 'SHUNT_E_KUBE_SERVER']);
  const second = await opened.until((snapshot) => snapshot.rejected.length === 0);
  assert.deepEqual(uids(second), ['a']);
});

test('a server that does not answer does not hold the first snapshot up, which says that pods are not known', async () => {
  await using server = await ApiServer.start();
  server.failNext('LIST', 'hang');
  await using opened = open(server, { firstMs: 20 });
  const first = await opened.until(always);
  assert.equal(first.rejected[0]?.error.code, 'SHUNT_E_KUBE_UNREACHABLE');
});

test('a pod that the server has forgotten stays for as long as it runs here', async () => {
  await using server = await ApiServer.start();
  for (const uid of ['a', 'b']) server.put(PODS, pod(uid));
  await using opened = open(server);
  opened.running.add('a');
  await opened.until(always);
  await server.until('the watch', () => server.watches === 1);
  server.remove('a');
  server.remove('b');
  const after = await opened.until((snapshot) => snapshot.pods.length === 1);
  assert.deepEqual(uids(after), ['a']);
  opened.running.delete('a');
  assert.deepEqual(uids(await opened.until((snapshot) => snapshot.pods.length === 0)), []);
});

test('namespaces are watched from the first pod on whose mesh asks for them, and no sooner', async () => {
  await using server = await ApiServer.start();
  const annotations = { 'config.linkerd.io/skip-inbound-ports': '25', 'example.com/owner': 'x' };
  server.put(NAMESPACES, { metadata: { name: 'shop', uid: 'ns', annotations, labels: { team: 'x' } } });
  server.put(PODS, pod('a'));
  await using opened = open(server, { needsNamespace: (each) => each.metadata.uid === 'b' });
  await opened.until(always);
  await server.until('the watch', () => server.watches === 1);
  assert.ok(!server.requests.some(({ path }) => path === NAMESPACES));
  server.put(PODS, pod('b'));
  const known = await opened.until(({ pods }) => pods.some(({ namespace }) => namespace !== undefined));
  assert.deepEqual(known.pods[0]?.namespace?.annotations, {
    'config.linkerd.io/skip-inbound-ports': '25',
  });
  assert.deepEqual(known.pods[0]?.namespace?.labels, {});
  await server.until('both watches', () => server.watches === 2);
  assert.equal(known.changed, null, 'pods that did not change may be affected');
});

test('of a pod is kept what is needed, and not what says where it would like to be', () => {
  const annotations = {
    'kubectl.kubernetes.io/last-applied-configuration': '{}',
    'shunt.dev/netns': '/proc/1/ns/net',
    'shunt.dev/cgroup': '/sys/fs/cgroup',
    'shunt.dev/cgroup.istio-proxy': '/sys/fs/cgroup',
    'shunt.dev/redirect': 'enabled',
    'kubernetes.io/config.mirror': '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
  };
  const read = readKubernetesPod(
    pod(
      'a',
      { annotations, managedFields: [{}], deletionTimestamp: '2026-01-01T00:00:00Z' },
      { volumes: [{}] },
      {
        podIP: '10.0.0.1',
        containerStatuses: [
          {
            name: 'app',
            containerID: 'containerd://abc',
            state: { running: {} },
            lastState: { terminated: { exitCode: 3 } },
          },
          { name: 'later', state: { waiting: {} } },
        ],
        initContainerStatuses: [
          { name: 'init', containerID: 'cri-o://def', state: { terminated: { exitCode: 0 } } },
        ],
        ephemeralContainerStatuses: [{ name: 'debug', containerID: 'docker://123', state: {} }],
      },
    ),
  );
  assert.deepEqual(read, {
    metadata: {
      name: 'pod-a',
      namespace: 'shop',
      uid: 'a',
      labels: {},
      annotations: {
        'shunt.dev/redirect': 'enabled',
        'kubernetes.io/config.mirror': '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
      },
      staticUid: '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
      deleting: true,
    },
    spec: {
      hostNetwork: false,
      containers: [
        {
          name: 'app',
          args: [],
          env: {},
          restartPolicy: undefined,
          runAsUser: undefined,
          runAsGroup: undefined,
        },
      ],
      initContainers: [],
    },
    status: {
      podIPs: ['10.0.0.1'],
      phase: 'Running',
      containers: [
        { name: 'init', id: 'def', exitCode: 0, completed: true },
        { name: 'app', id: 'abc', exitCode: 3, completed: false },
        { name: 'later', id: null, exitCode: null, completed: false },
        { name: 'debug', id: '123', exitCode: null, completed: false },
      ],
    },
  } satisfies PodObject);
});

test('memory follows the pods of the node: 500 of 20,000, each of 10 kB', async (t) => {
  await using server = await ApiServer.start();
  const managedFields = 'f'.repeat(10_000);
  for (let n = 0; n < 20_000; n++) {
    const here = n % 40 === 0;
    server.put(PODS, pod(`u${n}`, here ? { managedFields } : {}, { nodeName: here ? 'node-a' : 'node-b' }));
  }
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const before = process.memoryUsage().heapUsed;
  await using opened = open(server);
  assert.equal((await opened.until((snapshot) => snapshot.pods.length > 0)).pods.length, 500);
  collect();
  const bytes = (process.memoryUsage().heapUsed - before) / 500;
  t.diagnostic(`${Math.round(bytes)} bytes a pod`);
  assert.ok(bytes < 4_000, `${bytes} bytes a pod`);
  assert.equal(server.count('LIST'), 1);
});
