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
    if (bed.backend === 'iptables' && event.shuntOnly) continue;
    yield* event.run(bed);
  }
  if (bed.backend === 'shunt') yield await rulesRow(bed);
}

/** No rule of iptables in either pod: whatever worked above, worked without. */
async function rulesRow(bed: Bed): Promise<Row> {
  const row = blankRow(
    'iptables rules',
    'pod-a, pod-b',
    '-',
    'iptables-save and ip6tables-save print nothing in either pod',
  );
  for (const pod of [bed.a, bed.b]) {
    const rules = await rulesOf(pod.netns);
    if (rules !== '') row.failures.push(`${pod.netns.name} has rules: ${rules.split('\n')[0]} …`);
  }
  return judged(row);
}
