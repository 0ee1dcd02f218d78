import { rulesOf } from '../../lab/iptables.ts';
import type { Bed } from './bed.ts';
import { connectionRow } from './connection_row.ts';
import { EVENTS } from './events.ts';
import { blankRow, judged, type Row } from './row.ts';
import { CONNECTIONS } from './scenarios.ts';

/** Runs every scenario on the bed, in order; rows come as they are known. */
export async function* runScenarios(bed: Bed): AsyncGenerator<Row> {
  for (const scenario of CONNECTIONS) {
    bed.signal?.throwIfAborted();
    yield await connectionRow(bed, scenario);
  }
  for (const event of EVENTS) {
    bed.signal?.throwIfAborted();
    if (bed.agent === null && event.needsAgent) continue;
    yield* event.run(bed);
  }
  if (bed.agent !== null) yield await rulesRow(bed);
}

/** With eBPF no rule of iptables in either pod: whatever worked above, worked without. With iptables, the agent's. */
async function rulesRow(bed: Bed): Promise<Row> {
  const row = blankRow(
    'iptables rules',
    'pod-a, pod-b',
    '-',
    bed.backend === 'ebpf'
      ? 'iptables-save and ip6tables-save print nothing in either pod'
      : "both pods have the agent's chains, of each family, and no others",
  );
  for (const { netns } of [bed.a, bed.b]) {
    const rules = await rulesOf(netns);
    if (bed.backend === 'ebpf') {
      if (rules !== '') row.failures.push(`${netns.name} has rules: ${rules.split('\n')[0]} …`);
      continue;
    }
    const families = netns.ip6 === null ? 1 : 2;
    const entries = rules.match(/^-A OUTPUT .*-j SHUNT_OUTPUT$/gm)?.length ?? 0;
    if (entries !== families) row.failures.push(`${netns.name} has ${entries} entry rules, not ${families}`);
    const foreign = rules.match(/^:(?!SHUNT_|[A-Z]+ ACCEPT)\S+/m);
    if (foreign !== null) row.failures.push(`${netns.name} has a chain of others: ${foreign[0]}`);
  }
  return judged(row);
}
