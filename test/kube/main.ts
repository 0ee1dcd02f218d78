/**
 * `npm run test:kube`: the reflector and the agent against a real kube-apiserver and etcd, as the service account of
 * daemonset/manifests.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as v from 'valibot';
import type { PodReport } from '../../src/agent/api.ts';
import { until } from '../../src/lab/deadline.ts';
import { percentile } from '../../src/lab/statistics.ts';
import { ApiConnection } from '../../src/pod/kubernetes/connection.ts';
import { KubeError } from '../../src/pod/kubernetes/kube_error.ts';
import { readKubernetesPod } from '../../src/pod/kubernetes/pod_object.ts';
import { DEFAULT_REFLECTOR_TIMINGS, Reflector } from '../../src/pod/kubernetes/reflector.ts';
import { KubernetesSource } from '../../src/pod/kubernetes/source.ts';
import { metricsAddress, scrape } from '../fixtures/scrape.ts';
import { Cluster } from './cluster.ts';
import { KubeAgent } from './kube_agent.ts';
import { newPod, PROXY } from './node.ts';
import { assertBounded, OUTAGE_MS, outage } from './outage.ts';

const PODS = '/api/v1/pods';
const SHOP = '/api/v1/namespaces/shop/pods';
const ACCOUNT = { namespace: 'kube-system', name: 'shunt' };
const AGENT_USER = `system:serviceaccount:${ACCOUNT.namespace}:${ACCOUNT.name}`;
const EVENT_PODS = 500;
/** Each has a network namespace and a process of its own: 500 take minutes to make. */
const ENFORCED_PODS = Number(process.env.SHUNT_KUBE_PODS ?? 500);

function table(title: string, rows: Record<string, number[]>): void {
  const line = (label: string, cells: string[]) =>
    process.stdout.write(`${label.padEnd(50)}${cells.map((cell) => cell.padStart(9)).join('')}\n`);
  line(title, ['P50', 'P99', 'MAX']);
  for (const [label, times] of Object.entries(rows)) {
    line(
      label,
      [0.5, 0.99, 1].map((share) => percentile(times, share).toFixed(1)),
    );
  }
}

const enrolledLine = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ time: v.string(), pod: v.string(), tookMs: v.number() }),
);

const eventList = v.object({
  items: v.array(
    v.looseObject({
      reason: v.string(),
      message: v.string(),
      involvedObject: v.looseObject({ uid: v.string() }),
    }),
  ),
});

/** The first event of a watch, or why it could not be opened. */
async function firstEvent(watch: Promise<AsyncGenerator<unknown, void, void>>): Promise<unknown> {
  try {
    for await (const event of await watch) return event;
  } catch (error) {
    return error;
  }
  return null;
}

describe('a real API server', { timeout: 1_200_000 + OUTAGE_MS }, () => {
  const stop = new AbortController();
  let cluster: Cluster;
  let account: string;

  before(async () => {
    cluster = await Cluster.start(stop.signal);
    await cluster.applyRbac();
    await cluster.create('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop', annotations: { 'config.linkerd.io/skip-inbound-ports': '25' } },
    });
    account = await cluster.serviceAccount(ACCOUNT.namespace, ACCOUNT.name);
    process.stdout.write(`kube-apiserver ${await cluster.version()}, ${cpus().length} cores\n`);
  });
  after(async () => {
    stop.abort();
    await cluster?.[Symbol.asyncDispose]();
  });

  const connect = () => new ApiConnection(cluster.credentials(account));

  it('takes every object of the manifests in a dry run, misspelt fields refused', async () => {
    assert.deepEqual(await cluster.dryRun(), ['DaemonSet', 'ConfigMap', 'ConfigMap', 'DaemonSet']);
    assert.deepEqual(await cluster.kept('/apis/apps/v1/daemonsets'), 0);
  });

  it('lets the service account read pods and namespaces and post Events, and nothing else', async () => {
    using connection = connect();
    const { signal } = stop;
    await connection.get(PODS, { limit: 1 }, signal);
    await connection.get('/api/v1/namespaces', { limit: 1 }, signal);
    await cluster.create(SHOP, newPod('rbac', 'node-x'));
    const refused: [string, () => Promise<unknown>][] = [
      ['secrets', () => connection.get('/api/v1/secrets', { limit: 1 }, signal)],
      ['config maps', () => connection.get('/api/v1/configmaps', { limit: 1 }, signal)],
      ['nodes', () => connection.get('/api/v1/nodes', { limit: 1 }, signal)],
      ['one pod', () => connection.get(`${SHOP}/rbac`, {}, signal)],
      ['making a pod', () => connection.post(SHOP, newPod('mine', 'node-x'), signal)],
      ['deleting a pod', () => connection.delete(`${SHOP}/rbac`, {}, signal)],
      ['deleting all pods', () => connection.delete(SHOP, {}, signal)],
      ['events', () => connection.get('/api/v1/events', { limit: 1 }, signal)],
    ];
    for (const [what, ask] of refused) {
      const error = await ask().catch((cause: unknown) => cause);
      assert.ok(error instanceof KubeError && error.code === 'SHUNT_E_KUBE_FORBIDDEN', `${what}: ${error}`);
    }
    await cluster.admin.delete(`${SHOP}/rbac`, { gracePeriodSeconds: 0 }, signal);
  });

  it('does not accept a stale token, which the reflector tells; with a good one it goes on', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'shunt-stale-'));
    const good = readFileSync(join(account, 'token'), 'utf8');
    writeFileSync(join(folder, 'ca.crt'), readFileSync(join(account, 'ca.crt')));
    // As one of an account that is no more: its signature is not of this server.
    const stale = `${good.slice(0, -4)}AAAA`;
    writeFileSync(join(folder, 'token'), stale);
    using connection = new ApiConnection(cluster.credentials(folder));
    const ended = new AbortController();
    const reflector = new Reflector({
      connection,
      path: PODS,
      fieldSelector: 'spec.nodeName=quiet',
      read: readKubernetesPod,
      changed: () => {},
      timings: { ...DEFAULT_REFLECTOR_TIMINGS, backoff: { shortestMs: 20, longestMs: 100 }, watchSeconds: 2 },
    });
    const running = reflector.run(AbortSignal.any([ended.signal, stop.signal]));
    const unauthorized = () => reflector.error?.code === 'SHUNT_E_KUBE_UNAUTHORIZED' || undefined;
    await until(unauthorized, { what: 'the refusal' });
    assert.ok(!reflector.synced);
    writeFileSync(join(folder, 'token'), good);
    await until(() => (reflector.synced && reflector.error === null) || undefined, { what: 'the list' });
    // A watch that is open outlives its token; the next does not.
    writeFileSync(join(folder, 'token'), stale);
    await until(unauthorized, { what: 'the next watch', timeoutMs: 20_000 });
    writeFileSync(join(folder, 'token'), good);
    await until(() => reflector.error === null || undefined, { what: 'the watch' });
    ended.abort();
    await running;
    rmSync(folder, { recursive: true });
  });

  it('carries a quiet watch on by bookmarks: watches end and go on, the version moves, and nothing is listed', async () => {
    using connection = connect();
    const ended = new AbortController();
    const timings = { ...DEFAULT_REFLECTOR_TIMINGS, watchSeconds: 6 };
    const reflector = new Reflector({
      connection,
      path: PODS,
      fieldSelector: 'spec.nodeName=quiet',
      read: readKubernetesPod,
      changed: () => {},
      timings,
    });
    const running = reflector.run(AbortSignal.any([ended.signal, stop.signal]));
    await until(() => (reflector.synced ? true : undefined), { what: 'the list' });
    for (let n = 0; n < 10; n++) await cluster.create(SHOP, newPod(`loud-${n}`, 'node-x'));
    await until(() => (reflector.restarts.ended >= 2 ? true : undefined), {
      what: 'two watches to end',
      timeoutMs: 60_000,
    });
    ended.abort();
    await running;
    assert.equal(reflector.requests.lists, 1);
    assert.equal(reflector.size, 0);
    const { ended: times, ...failures } = reflector.restarts;
    assert.ok(times >= 2);
    assert.deepEqual(
      Object.values(failures).filter((count) => count > 0),
      [],
    );
  });

  it(`tells of ${EVENT_PODS} pods of this node, among as many of another, with one LIST and one WATCH`, async () => {
    using connection = connect();
    const ended = new AbortController();
    const asked = cluster.audit(AGENT_USER).length;
    const source = new KubernetesSource({
      connection,
      nodeName: 'node-a',
      signal: AbortSignal.any([ended.signal, stop.signal]),
      isRunning: () => false,
      needsNamespace: () => false,
    });
    const seenMs = new Map<string, number>();
    const gone = new Set<string>();
    const reading = (async () => {
      for await (const { pods, changed } of source.snapshots()) {
        const now = performance.now();
        const names = new Set(pods.map(({ pod }) => pod.metadata.name));
        for (const name of names) if (!seenMs.has(name)) seenMs.set(name, now);
        for (const name of seenMs.keys()) if (changed !== null && !names.has(name)) gone.add(name);
      }
    })();
    const sentMs = new Map<string, number>();
    const doneMs = new Map<string, number>();
    const startedMs = performance.now();
    for (let n = 0; n < EVENT_PODS; n++) {
      const name = `here-${n}`;
      sentMs.set(name, performance.now());
      await cluster.create(SHOP, newPod(name, 'node-a'));
      doneMs.set(name, performance.now());
      await cluster.create(SHOP, newPod(`there-${n}`, 'node-b'));
    }
    const tookMs = performance.now() - startedMs;
    await until(() => (seenMs.size === EVENT_PODS ? true : undefined), {
      what: 'the pods',
      timeoutMs: 60_000,
    });
    for (let n = 0; n < 10; n++) {
      await cluster.admin.delete(`${SHOP}/here-${n}`, { gracePeriodSeconds: 0 }, stop.signal);
    }
    await until(() => (gone.size === 10 ? true : undefined), { what: 'the deletions', timeoutMs: 60_000 });
    ended.abort();
    await reading;

    const since = (start: Map<string, number>) =>
      [...seenMs].map(([name, at]) => at - (start.get(name) ?? Number.NaN));
    const [whole, late] = [since(sentMs), since(doneMs)];
    table(`pod event to seen, ms, ${EVENT_PODS} pods`, {
      'from sending the request that makes the pod': whole,
      'from its answer (below 0: seen before it)': late,
    });
    const requests = cluster.audit(AGENT_USER).slice(asked);
    const count = (verb: string) => requests.filter((each) => each.verb === verb).length;
    process.stdout.write(
      `${2 * EVENT_PODS} pods in ${(tookMs / 1000).toFixed(1)} s; requests of the agent by the audit log: ${count('list')} LIST, ${count('watch')} WATCH, ${requests.length} in all\n`,
    );
    assert.ok(![...seenMs.keys()].some((name) => !name.startsWith('here-')));
    assert.deepEqual(
      requests.map(({ verb, resource }) => `${verb} ${resource}`),
      ['list pods', 'watch pods'],
    );
  });

  describe('and the agent', () => {
    let agent: KubeAgent;
    let pod: { name: string; uid: string };
    let end: () => Promise<void>;
    let requestsBefore: number;

    before(async () => {
      requestsBefore = cluster.audit(AGENT_USER).length;
      agent = await KubeAgent.start({ cluster, account, label: 'real' });
    });
    after(() => agent?.[Symbol.asyncDispose]());

    const settled = (what: string, seen: (pods: PodReport[]) => boolean) => agent.settled(what, seen);
    /** The Events of the namespace, once there are so many. */
    const told = (count: number) =>
      until(
        async () => {
          const path = '/api/v1/namespaces/shop/events';
          const { items } = v.parse(eventList, await cluster.admin.get(path, { limit: 50 }, stop.signal));
          return items.length === count ? items : undefined;
        },
        { what: `${count} Events`, timeoutMs: 30_000, everyMs: 100 },
      );
    const stateOf = (pods: PodReport[]) => pods.find((each) => each.uid === pod.uid);

    it(`enforces ${ENFORCED_PODS} pods as they are bound to its node`, async () => {
      const bound = new Map<string, number>();
      const spentBefore = await agent.cpuMs();
      const answered = new Map<string, number>();
      for (let n = 0; n < ENFORCED_PODS; n++) {
        const name = `bound-${n}`;
        const { uid } = await cluster.create(SHOP, newPod(name));
        await agent.node.startSandbox(uid, `10.9.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`);
        bound.set(name, performance.timeOrigin + performance.now());
        await cluster.bind('shop', name, 'node-real');
        answered.set(name, performance.timeOrigin + performance.now());
      }
      const enforced = await until(
        () => {
          const lines = agent.log.split('\n').filter((line) => line.includes('"pod-enrolled"'));
          return lines.length === ENFORCED_PODS
            ? lines.map((line) => v.parse(enrolledLine, line))
            : undefined;
        },
        { what: 'the enrolments', timeoutMs: 60_000, everyMs: 100 },
      );
      const cpuMs = (await agent.cpuMs()) - spentBefore;
      const since = (start: Map<string, number>) =>
        enforced.map(
          ({ pod: label, time }) => Date.parse(time) - (start.get(label.slice('shop/'.length)) ?? Number.NaN),
        );
      table(`pod event to enforced, ms, ${ENFORCED_PODS} pods`, {
        'from sending the request that binds the pod': since(bound),
        'from its answer (below 0: enforced before it)': since(answered),
        'of which in the data plane': enforced.map(({ tookMs }) => tookMs),
      });
      process.stdout.write(
        `agent: ${(cpuMs / ENFORCED_PODS).toFixed(1)} ms of CPU a pod; at ${ENFORCED_PODS} pods RSS ${(agent.memory / 2 ** 20).toFixed(0)} MB (run from source, with a kubeconfig)\n`,
      );
      const scrapes: number[] = [];
      for (let n = 0; n < 21; n++) {
        const startedMs = performance.now();
        const metrics = await scrape(metricsAddress(agent.log));
        scrapes.push(performance.now() - startedMs);
        assert.equal(metrics.get('shunt_pods{state="enrolled",backend="ebpf"}'), ENFORCED_PODS);
      }
      table('a scrape over HTTP, ms, 21 times', { [`with ${ENFORCED_PODS} pods enrolled`]: scrapes });
      const asked = cluster.audit(AGENT_USER).slice(requestsBefore);
      assert.deepEqual(
        asked.map(({ verb, resource }) => `${verb} ${resource}`),
        ['list pods', 'watch pods'],
      );
    });

    it('enrolls a pod that is bound to its node, runs, and is reported', async () => {
      pod = await cluster.create(SHOP, newPod('web', 'node-real'));
      await settled('the pod', (pods) => stateOf(pods)?.error?.code === 'SHUNT_E_POD_NOT_STARTED');
      ({ end } = await agent.node.start(pod.uid, '10.9.0.7'));
      await settled('the enrolment', (pods) => stateOf(pods)?.state === 'enrolled');
      const running = { running: { startedAt: new Date().toISOString() } };
      await cluster.patchStatus('shop', 'web', {
        phase: 'Running',
        podIP: '10.9.0.7',
        podIPs: [{ ip: '10.9.0.7' }],
        containerStatuses: [
          {
            name: 'istio-proxy',
            containerID: `containerd://${PROXY}`,
            image: 'x',
            imageID: 'x',
            ready: true,
            restartCount: 0,
            state: running,
          },
        ],
      });
      await settled('the container of the sidecar', (pods) => stateOf(pods)?.identity === 'cgroup');
    });

    it('tells by an Event of a pod whose validator gave up', async () => {
      const at = new Date().toISOString();
      const terminated = { exitCode: 126, startedAt: at, finishedAt: at, containerID: 'containerd://d' };
      const restartCount = 1;
      await cluster.patchStatus('shop', 'web', {
        initContainerStatuses: [
          {
            name: 'istio-validation',
            image: 'x',
            imageID: 'x',
            ready: false,
            restartCount,
            state: { waiting: { reason: 'CrashLoopBackOff' } },
            lastState: { terminated },
          },
        ],
      });
      const events = await told(1);
      assert.deepEqual(
        events.map(({ reason, involvedObject }) => [reason, involvedObject.uid]),
        [['ShuntEnrolledLate', pod.uid]],
      );
    });

    it('tells by an Event of an annotation that is not taken, whatever stands in it', async () => {
      const values = ['fast', 'é'.repeat(3000), '<b>"\n$HOME\u0000'];
      const pods = new Map<string, string>();
      for (const [n, value] of values.entries()) {
        const annotated = newPod(`annotated-${n}`, 'node-real', { 'shunt.dev/acceleration': value });
        pods.set((await cluster.create(SHOP, annotated)).uid, value);
      }
      const events = (await told(1 + values.length)).filter(({ reason }) => reason === 'ShuntAnnotation');
      assert.deepEqual(
        events.map(({ involvedObject }) => involvedObject.uid).sort(),
        [...pods.keys()].sort(),
      );
      for (const { message, involvedObject } of events) {
        const begin = JSON.stringify((pods.get(involvedObject.uid) ?? '').slice(0, 20)).slice(0, -1);
        assert.ok(message.startsWith(`shunt.dev/acceleration=${begin}`), message);
      }
      for (const n of values.keys())
        await cluster.admin.delete(`${SHOP}/annotated-${n}`, { gracePeriodSeconds: 0 }, stop.signal);
    });

    it('keeps the pod while the API server is down, and follows it again when it is back', async () => {
      await cluster.stopApiServer();
      await until(async () => ((await agent.client.status()).source.rejected.length > 0 ? true : undefined), {
        what: 'the error',
        timeoutMs: 30_000,
        everyMs: 50,
      });
      assert.equal(stateOf(await agent.client.pods())?.state, 'enrolled');
      await cluster.startApiServer();
      await cluster.admin.delete(`${SHOP}/web`, { gracePeriodSeconds: 0 }, stop.signal);
      await until(
        async () => ((await agent.client.status()).source.rejected.length === 0 ? true : undefined),
        {
          what: 'the watch',
          timeoutMs: 60_000,
          everyMs: 50,
        },
      );
      assert.equal(
        stateOf(await agent.client.pods())?.state,
        'enrolled',
        'of the pod something still runs here',
      );
      await end();
      await settled('the withdrawal', (pods) => stateOf(pods) === undefined);
    });
  });

  it('keeps its pods for as long as the server is away, with a token that ends meanwhile, and catches up', async () => {
    await using agent = await KubeAgent.start({ cluster, account, label: 'outage' });
    const asked = cluster.audit(AGENT_USER).length;
    const report = await outage(agent, cluster, account);
    const { attempts, captured, looks, memory, cpuSeconds, caughtUpMs } = report;
    const [before, most] = [memory.before, memory.most].map((bytes) => (bytes / 2 ** 20).toFixed(0));
    process.stdout.write(
      `API server away for ${(OUTAGE_MS / 60_000).toFixed(2)} min: ${attempts} attempts of the agent, ` +
        `${captured} connections captured and none lost, ready in ${looks} of ${looks} looks, ` +
        `RSS ${before} MB, at most ${most} MB, CPU ${cpuSeconds.toFixed(1)} s; ` +
        `caught up ${(caughtUpMs / 1000).toFixed(1)} s after its first answer\n`,
    );
    assertBounded(report);
    const since = cluster.audit(AGENT_USER).slice(asked);
    assert.ok(since.length <= 10, `requests since: ${since.map(({ verb }) => verb).join(', ')}`);
  });

  it('tells a watch of too old a version, and pages of a list, in the form that the reflector expects', async () => {
    // The server has started anew meanwhile: what happened before then is not in its cache.
    using connection = connect();
    const query = { watch: 1, resourceVersion: 1, allowWatchBookmarks: 'true', timeoutSeconds: 5 };
    const refusal = v.object({ type: v.literal('ERROR'), object: v.object({ code: v.literal(410) }) });
    const told = await firstEvent(connection.watch(PODS, query, stop.signal));
    if (told instanceof KubeError) assert.equal(told.status, 410);
    else v.parse(refusal, told);
    const page = v.object({ metadata: v.object({ continue: v.string() }), items: v.array(v.unknown()) });
    const first = v.parse(page, await connection.get(PODS, { limit: 100 }, stop.signal));
    assert.equal(first.items.length, 100);
  });
});
