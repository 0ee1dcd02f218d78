/**
 * The API server away for as long as SHUNT_KUBE_OUTAGE_MINUTES says: its process has ended, and nobody renews the
 * agent's token. Looked at all the while: pods, connections, probes, memory, and how often the agent asks.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { PodReport } from '../../src/agent/api.ts';
import { until } from '../../src/lab/deadline.ts';
import { OUTBOUND_PORT } from '../../src/lab/istio.ts';
import { metricsAddress, type Scrape, scrape } from '../fixtures/scrape.ts';
import { type Cluster, TOKEN_SECONDS } from './cluster.ts';
import type { KubeAgent } from './kube_agent.ts';
import { APP, newPod, type StartedPod } from './node.ts';

const MINUTES = Number(process.env.SHUNT_KUBE_OUTAGE_MINUTES ?? 0.25);
export const OUTAGE_MS = MINUTES * 60_000;
const PODS = '/api/v1/namespaces/shop/pods';
/** As long as a wait may be (src/pod/kubernetes/backoff.ts), and a little for the attempt itself. */
const LONGEST_WAIT_MS = 32_000;
const SETTLE_MS = 60_000;
const LOOK_MS = Math.min(5_000, OUTAGE_MS / 10);

const SIDECAR = `require('node:net').createServer((socket) => socket.on('error', () => {}).end('sidecar'))
  .listen(${OUTBOUND_PORT}, '0.0.0.0', () => console.log('up'))`;
/** Connects to where no route leads, four times a second; a line for each. */
const APPLICATION = `
console.log('up');
setInterval(() => {
  const socket = require('node:net').connect(80, '198.51.100.9');
  let said = '';
  socket.setEncoding('utf8').on('data', (text) => { said += text; });
  socket.on('error', (error) => console.log(error.code)).on('end', () => console.log(said));
}, 250);`;

/** What the application of a pod got from its connections. */
class Traffic {
  captured = 0;
  readonly others = new Map<string, number>();

  static async of(pod: StartedPod): Promise<Traffic> {
    const traffic = new Traffic();
    const { child } = await pod.run(APP, APPLICATION);
    assert.ok(child.stdout !== null);
    createInterface(child.stdout).on('line', (line) => traffic.#got(line));
    return traffic;
  }

  #got(line: string): void {
    if (line === 'sidecar') this.captured++;
    else this.others.set(line, (this.others.get(line) ?? 0) + 1);
  }
}

export interface OutageReport {
  /** Attempts that the agent made while the server was away. */
  attempts: number;
  captured: number;
  looks: number;
  /** Bytes: as the outage began, and the most. */
  memory: { before: number; most: number };
  cpuSeconds: number;
  /** From the server's first answer to the pod made then being enrolled, and the one deleted being gone. */
  caughtUpMs: number;
}

function attemptsIn(metrics: Scrape): number {
  return [...metrics]
    .filter(([name]) => name.startsWith('shunt_watch_restarts_total{resource="pods"'))
    .filter(([name]) => !name.includes('reason="ended"'))
    .reduce((sum, [, count]) => sum + count, 0);
}

/** @param account folder of the agent's token */
export async function outage(agent: KubeAgent, cluster: Cluster, account: string): Promise<OutageReport> {
  const { node, nodeName, client } = agent;
  const address = metricsAddress(agent.log);
  const pods: StartedPod[] = [];
  const run = async (name: string): Promise<StartedPod> => {
    const { uid } = await cluster.create(PODS, newPod(name, nodeName));
    const pod = await node.start(uid, `10.9.8.${pods.length + 1}`, SIDECAR);
    pods.push(pod);
    return pod;
  };
  const is = (reports: PodReport[], { uid }: StartedPod) => reports.find((each) => each.uid === uid)?.state;
  const [first, second, third] = [await run('stays-0'), await run('stays-1'), await run('goes')];
  await agent.settled('the pods', (reports) => pods.every((pod) => is(reports, pod) === 'enrolled'));
  const traffic = [await Traffic.of(first), await Traffic.of(second)];
  await until(() => traffic.every(({ captured }) => captured > 2) || undefined, { what: 'connections' });

  const began = await scrape(address);
  const memory = { before: agent.memory, most: 0 };
  await cluster.stopApiServer();
  // Its life is an hour, and a server grants a minute more: for a shorter time it is spoilt.
  const token = join(account, 'token');
  if (OUTAGE_MS < TOKEN_SECONDS * 1000)
    writeFileSync(token, `${readFileSync(token, 'utf8').slice(0, -4)}AAAA`);
  const endMs = performance.now() + OUTAGE_MS;
  let looks = 0;
  let counts = traffic.map(({ captured }) => captured);
  for (; performance.now() < endMs; looks++) {
    await delay(LOOK_MS);
    agent.process.assertRunning();
    const reports = await client.pods();
    assert.deepEqual(
      pods.map((pod) => is(reports, pod)),
      pods.map(() => 'enrolled'),
    );
    for (const probe of ['livez', 'readyz', 'startupz']) {
      assert.equal(
        (await fetch(`http://${address}/${probe}`)).status,
        200,
        `${probe}: the pods are enforced`,
      );
    }
    memory.most = Math.max(memory.most, agent.memory);
    const now = traffic.map(({ captured }) => captured);
    assert.ok(
      now.every((count, n) => count > (counts[n] ?? 0)),
      'connections go on',
    );
    counts = now;
  }
  const { rejected } = (await client.status()).source;
  assert.deepEqual(
    rejected.map(({ code }) => code),
    ['SHUNT_E_KUBE_UNREACHABLE'],
    'the agent says so',
  );
  const ended = await scrape(address);
  const attempts = attemptsIn(ended) - attemptsIn(began);

  await cluster.startApiServer();
  const answeredMs = performance.now();
  await until(
    async () =>
      (await client.status()).source.rejected.some(({ code }) => code === 'SHUNT_E_KUBE_UNAUTHORIZED') ||
      undefined,
    { what: 'the refusal of the old token', timeoutMs: SETTLE_MS, everyMs: 50 },
  );
  assert.equal(await cluster.serviceAccount('kube-system', 'shunt'), account);
  const added = await run('comes');
  await cluster.admin.delete(`${PODS}/goes`, { gracePeriodSeconds: 0 }, AbortSignal.timeout(10_000));
  await third.end();
  await agent.settled(
    'the pod made since, and the end of the one deleted',
    (reports) => is(reports, added) === 'enrolled' && is(reports, third) === undefined,
    SETTLE_MS,
  );
  const caughtUpMs = performance.now() - answeredMs;
  assert.deepEqual((await client.status()).source.rejected, []);
  for (const { others } of traffic) assert.deepEqual([...others], [], 'every connection reached the sidecar');
  const cpu = 'process_cpu_seconds_total';
  return {
    attempts,
    captured: traffic.reduce((sum, { captured }) => sum + captured, 0),
    looks,
    memory,
    cpuSeconds: (ended.get(cpu) ?? 0) - (began.get(cpu) ?? 0),
    caughtUpMs,
  };
}

/** What of the report is as it has to be; throws where it is not. */
export function assertBounded({ attempts, memory }: OutageReport): void {
  // It neither gives up nor hammers: some short waits at first, then more than 8 s on average.
  const least = Math.floor(OUTAGE_MS / LONGEST_WAIT_MS) - 1;
  const most = 12 + OUTAGE_MS / 8_000;
  assert.ok(attempts >= least && attempts <= most, `${attempts} attempts, of ${least} to ${most}`);
  assert.ok(memory.most < memory.before + 32 * 2 ** 20, `from ${memory.before} to ${memory.most} bytes`);
}
