import type { Client, TargetTally } from '../../lab/client.ts';
import { endpoint, hostOf } from '../../lab/endpoint.ts';
import { APP_PORT } from '../../lab/host.ts';
import { PASSTHROUGH } from '../../lab/istio.ts';
import type { AgentProcess } from './agent_process.ts';
import type { Bed, HostName } from './bed.ts';
import { type Marks, markLogs } from './path.ts';
import { blankRow, judged, type Row } from './row.ts';
import { againRow } from './sidecar_events.ts';

/** Traffic goes on for that many new connections in each phase, beside one old connection per target. */
const CONNECTIONS_A_PHASE = 60;
const PAUSE_MS = 5;
const TARGETS = ['b', 'outside'] as const satisfies HostName[];

/**
 * kill -9 of the agent under traffic; life without an agent, a restart of a sidecar included; and its successor, under
 * traffic again.
 */
export async function* agentKilled(bed: Bed): AsyncGenerator<Row> {
  const { agent } = bed;
  if (agent === null) return;
  const { pid } = agent;
  const killed = await underTraffic(bed, () => agent.kill());
  for (const [index, target] of TARGETS.entries()) {
    const tally = killed.tallies[index];
    if (tally === undefined) continue;
    const row = soakRow(bed, `agent killed, to ${target}`, target, tally, killed.marks);
    row.explanation =
      `pid ${pid} was killed with -9 under traffic: ${tally.connections} connections and ${tally.requests} requests ` +
      'on an old one before and after, none lost, none past a sidecar';
    yield judged(row);
  }

  bed.signal?.throwIfAborted();
  await bed.a.sidecar.stop();
  await bed.a.sidecar.start(bed.signal);
  yield await againRow(
    bed,
    'outbound',
    'no agent, out',
    'no agent, and a sidecar that was restarted meanwhile',
  );
  const stays = bed.backend === 'ebpf' ? 'what is pinned captures its new listeners' : 'the rules stay';
  yield await againRow(bed, 'inbound', 'no agent, in', stays);

  let row = blankRow('agent restarted', 'agent', 'its pins', '');
  const restarted = await underTraffic(bed, async () => {
    row = await successorRow(bed, agent);
  });
  for (const [index, target] of TARGETS.entries()) {
    const tally = restarted.tallies[index];
    if (tally !== undefined) row.failures.push(...soakRow(bed, '', target, tally, restarted.marks).failures);
  }
  yield judged(row);
}

/** Requests before, during and after the act, without a pause. */
async function underTraffic(
  bed: Bed,
  act: () => Promise<void>,
): Promise<{ tallies: TargetTally[]; marks: Marks }> {
  const client: Client = await bed.a.client();
  const marks = markLogs(bed);
  await client.soak(
    TARGETS.map((name) => ({ host: bed[name].address(4), port: APP_PORT })),
    PAUSE_MS,
  );
  try {
    await client.tally(CONNECTIONS_A_PHASE);
    await act();
    await client.tally(CONNECTIONS_A_PHASE);
  } catch (error) {
    await client.halt();
    throw error;
  }
  return { tallies: await client.halt(), marks };
}

/** What the traffic to one target says, from its own end, the server's, and the sidecars' logs. */
function soakRow(
  bed: Bed,
  scenario: string,
  target: (typeof TARGETS)[number],
  tally: TargetTally,
  marks: Marks,
): Row {
  const to = endpoint(tally.host, tally.port);
  const row = blankRow(scenario, 'app of pod-a', to, '');
  const out = bed.a.sidecar.accessLog.since(marks.a).filter(({ upstream }) => upstream === to);
  row.acceptedBy = target === 'b' ? ['sidecar-a', 'sidecar-b', 'app-b'] : ['sidecar-a', 'outside'];
  row.originalDst = [...new Set(out.map(({ originalDst }) => originalDst))];
  row.peername = tally.peernames.join(', ');

  row.failures.push(...tally.failures);
  // The sidecar's own connection may have the application's port by chance: its log then has both.
  const past = tally.direct.filter(
    (local) => !out.some(({ peer, source }) => peer === local && source === local),
  );
  if (past.length > 0) {
    row.failures.push(`${past.length} connections went past the sidecar, such as ${past[0]}`);
  }
  if (row.originalDst.some((dst) => dst !== to)) row.failures.push('a sidecar restored another destination');
  if (row.peername !== to) row.failures.push(`getpeername said ${row.peername}`);
  const expected = target === 'b' ? PASSTHROUGH.ip4 : bed.a.address(4);
  const strangers = tally.seen.map((host) => hostOf(`${host}:0`)).filter((host) => host !== expected);
  if (strangers.length > 0) row.failures.push(`${target} saw ${strangers.join(', ')} as its peer`);
  return row;
}

async function successorRow({ backend }: Bed, agent: AgentProcess): Promise<Row> {
  const status = await agent.restart();
  const { repaired, outstanding } = await agent.client.reconcile();
  const drift = [...status.drift.repaired, ...status.drift.outstanding, ...repaired, ...outstanding];
  const { links, pods } = status.adopted;
  const found = drift.length === 0 ? 'no drift' : 'drift';
  const held = backend === 'ebpf' ? `${pods} pods and ${links} links` : `${pods} pods with their rules`;
  const row = blankRow(
    'agent restarted',
    'agent',
    backend === 'ebpf' ? 'its pins' : 'its rules',
    `pid ${agent.pid}, started under traffic: adopted ${held} as they stood; ${found}`,
  );
  if (status.backend !== backend) row.failures.push(`it has the backend ${status.backend}`);
  if (pods !== 2) row.failures.push(`it adopted ${pods} pods, not 2`);
  if (links === 0 && backend === 'ebpf') row.failures.push('it adopted no link');
  row.failures.push(...drift.map((line) => `drift: ${line}`));
  return row;
}
