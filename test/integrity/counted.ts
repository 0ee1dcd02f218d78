import { until } from '../../src/lab/deadline.ts';
import type { FaultBed } from '../faults/bed.ts';

/** Messages that were redirected, over both pods. */
export async function accelerated(bed: FaultBed): Promise<bigint> {
  const pods = await bed.client.pods();
  return pods.reduce((sum, { held }) => sum + (held?.counters.acceleratedMessages ?? 0n), 0n);
}

/** Waits until that many messages were redirected. */
export async function redirecting(bed: FaultBed, atLeast: bigint): Promise<void> {
  await until(async () => ((await accelerated(bed)) >= atLeast ? true : undefined), {
    what: `${atLeast} redirected messages`,
    timeoutMs: 20_000,
    everyMs: 50,
  });
}
