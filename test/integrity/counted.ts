import type { FaultBed } from '../faults/bed.ts';

/** Messages that were redirected, over both pods. */
export async function accelerated(bed: FaultBed): Promise<bigint> {
  const pods = await bed.client.pods();
  return pods.reduce((sum, { held }) => sum + (held?.counters.acceleratedMessages ?? 0n), 0n);
}
