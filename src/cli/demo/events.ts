import { ClientError, type Tally } from '../../lab/client.ts';
import { until } from '../../lab/deadline.ts';
import { endpoint } from '../../lab/endpoint.ts';
import { APP_PORT, type Host } from '../../lab/host.ts';
import { bytesSince } from '../../lab/interfaces.ts';
import { PASSTHROUGH } from '../../lab/istio.ts';
import type { AgentProcess } from './agent_process.ts';
import type { Bed } from './bed.ts';
import { connectionRow } from './connection_row.ts';
import { followPath, markLogs } from './path.ts';
import { blankRow, judged, type Row } from './row.ts';
import { CONNECTIONS, type ConnectionScenario } from './scenarios.ts';

/** Each of these goes on for that many new connections per phase. */
const CONNECTIONS_A_PHASE = 40;
const PAUSE_MS = 5;

/** A thing that happens while connections are open, and what has to stay true. */
export interface EventScenario {
  name: string;
  /** Needs an agent: nothing to compare with iptables. */
  shuntOnly: boolean;
  run(bed: Bed): Promise<Row[]>;
}

export const EVENTS: readonly EventScenario[] = [
  { name: 'long-lived', shuntOnly: false, run: longLived },
  { name: 'agent killed', shuntOnly: true, run: agentKilled },
  { name: 'sidecar stopped', shuntOnly: false, run: sidecarStopped },
];

const LONG_BYTES = 1024;
const LONG_REQUESTS = 2_000;
/** Part of the payload that may still cross eth0 when the two sidecars are joined in the socket layer. */
const ACCELERATED_SHARE = 0.1;

/** One connection with many requests: what of it still crosses the interfaces. */
async function longLived(bed: Bed): Promise<Row[]> {
  const target = { host: bed.b.address(4), port: APP_PORT };
  const row = blankRow('long-lived', 'app of pod-a', endpoint(target.host, target.port), '');
  const client = await bed.a.client();
  const marks = markLogs(bed);
  await using connection = await client.connect(target);
  const who = await connection.who();
  const status = await bed.agent?.client.status();
  const accelerates = status?.acceleration.enabled === true;
  // The agent looks at connections a few times a second and joins those that have proved to be request and response.
  const payload = 2 * LONG_REQUESTS * LONG_BYTES;
  let before = bed.a.bytes();
  const measure = async () => {
    before = bed.a.bytes();
    await connection.exchange(LONG_REQUESTS, LONG_BYTES);
    return bytesSince(before, bed.a.bytes());
  };
  const crossed = accelerates
    ? await until(
        async () => {
          const bytes = await measure();
          return bytes.eth0 < payload * ACCELERATED_SHARE ? bytes : undefined;
        },
        { what: 'the connection to be accelerated', timeoutMs: 8_000, signal: bed.signal },
      ).catch(measure)
    : await measure();
  await connection.close();
  const hops = await followPath(bed, marks, connection.local, who);
  row.acceptedBy = [...hops.map(({ pod }) => `sidecar-${pod}`), `app-${who.name}`];
  row.originalDst = hops.map(({ record }) => record.originalDst);
  row.peername = connection.remote;
  row.bytes = { sent: payload, ...crossed };
  if (accelerates) {
    row.explanation = 'accelerated: requests pass from sidecar to sidecar without entering the TCP/IP stack';
    if (crossed.eth0 >= payload * ACCELERATED_SHARE) row.failures.push('it was not accelerated');
  } else {
    const why = status === undefined ? 'iptables' : status.acceleration.reason;
    row.explanation = `not accelerated (${why}): every byte crosses the interfaces`;
  }
  return [judged(row)];
}

/** kill -9 of the agent under traffic, and its successor. */
async function agentKilled(bed: Bed): Promise<Row[]> {
  const { agent } = bed;
  if (agent === null) return [];
  const targets = [bed.b, bed.outside].map((host) => ({ host: host.address(4), port: APP_PORT }));
  const client = await bed.a.client();
  await client.soak(targets, PAUSE_MS);
  await client.tally(CONNECTIONS_A_PHASE);
  const rows = [];
  let tally: Tally;
  try {
    const pid = agent.pid;
    await agent.kill();
    const before = await client.tally(1);
    tally = await client.tally(CONNECTIONS_A_PHASE);
    const made = tally.fresh.connections - before.fresh.connections;
    const asked = tally.old.requests - before.old.requests;
    const row = blankRow(
      'agent killed (-9)',
      'app of pod-a',
      'pod-b and outside',
      `pid ${pid} is gone: ${made} new connections and ${asked} requests on old ones since, none lost, none past a sidecar`,
    );
    row.failures = soakFaults(bed, tally);
    rows.push(row, await newcomer(bed));
    rows.push(await successor(bed, agent));
  } finally {
    tally = await client.halt();
  }
  const after = rows.at(-1);
  after?.failures.push(...soakFaults(bed, tally));
  return rows.map(judged);
}

/** A connection from the wire while no agent runs. */
async function newcomer(bed: Bed): Promise<Row> {
  const row = await connectionRow(bed, named('inbound'));
  return {
    ...row,
    scenario: 'inbound, no agent',
    explanation: 'what is pinned goes on working: steering needs no agent',
  };
}

async function successor(bed: Bed, agent: AgentProcess): Promise<Row> {
  const status = await agent.restart();
  const { repaired, outstanding } = await agent.client.reconcile();
  const drift = [...status.drift.repaired, ...status.drift.outstanding, ...repaired, ...outstanding];
  const { links, pods } = status.adopted;
  const row = blankRow(
    'agent restarted',
    'agent',
    'its pins',
    `adopted ${pods} pods and ${links} links as they stood; ${drift.length === 0 ? 'no drift' : 'drift'}`,
  );
  if (pods !== 2) row.failures.push(`it adopted ${pods} pods, not 2`);
  if (links === 0) row.failures.push('it adopted no link');
  row.failures.push(...drift.map((line) => `drift: ${line}`));
  await bed.a.client().then((client) => client.tally(CONNECTIONS_A_PHASE));
  return row;
}

function soakFaults(bed: Bed, tally: Tally): string[] {
  const faults = [...new Set([...tally.old.failures, ...tally.fresh.failures])].map(
    (failure) => `a request failed: ${failure}`,
  );
  if (tally.direct.length > 0)
    faults.push(`${tally.direct.length} connections went past the sidecar: ${tally.direct[0]}`);
  const seen = tally.seen[endpoint(bed.b.address(4), APP_PORT)] ?? [];
  const strangers = seen.filter((host) => host !== PASSTHROUGH.ip4);
  if (strangers.length > 0) faults.push(`app b saw ${strangers.join(', ')} and not only its sidecar`);
  return faults;
}

/** No sidecar: refused, both ways and both families. Then it comes back, and nobody has to do anything. */
async function sidecarStopped(bed: Bed): Promise<Row[]> {
  await bed.a.sidecar.stop();
  const refused = [
    await refusedRow(
      'sidecar stopped, out',
      bed.a,
      bed.outside,
      'nothing to go through: refused, not let out',
    ),
    await refusedRow(
      'sidecar stopped, in',
      bed.outside,
      bed.a,
      'the app listens, and is not reached past its sidecar',
    ),
  ];
  await bed.a.sidecar.start(bed.signal);
  const back: [string, string][] = [
    ['outbound', 'sidecar back, out'],
    ['inbound', 'sidecar back, in'],
  ];
  const again = [];
  for (const [name, scenario] of back) {
    const row = await connectionRow(bed, named(name));
    again.push({ ...row, scenario, explanation: 'the new sidecar is found by itself, without the agent' });
  }
  return [...refused, ...again];
}

async function refusedRow(scenario: string, from: Host, to: Host, explanation: string): Promise<Row> {
  const families = to.netns.ip6 === null ? ([4] as const) : ([4, 6] as const);
  const target = endpoint(to.address(4), APP_PORT);
  const row = blankRow(scenario, `app of ${from.netns.name}`, target, explanation);
  const client = await from.client();
  for (const family of families) {
    const host = to.address(family);
    try {
      await using connection = await client.connect({ host, port: APP_PORT });
      const who = await connection.who();
      row.failures.push(`${who.name} answered over IPv${family}`);
      row.acceptedBy.push(who.name);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      if (error.message !== 'ECONNREFUSED')
        row.failures.push(`over IPv${family} the client got ${error.message}`);
      else if (!row.acceptedBy.includes('ECONNREFUSED')) row.acceptedBy.push('ECONNREFUSED');
    }
  }
  return judged(row);
}

function named(name: string): ConnectionScenario {
  const scenario = CONNECTIONS.find((candidate) => candidate.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
}
