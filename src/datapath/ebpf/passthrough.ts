/** ::6 on the lo of pods, as their policies want it. */
import { ShuntError } from '../../errors.ts';
import { pathOfNetns } from '../../pod/netns_path.ts';
import {
  addPassthrough,
  PASSTHROUGH_6,
  removePassthrough,
  wantsPassthrough,
} from '../../pod/passthrough_address.ts';
import type { Workload } from '../../pod/workload.ts';

export function settlePassthrough(workload: Workload): void {
  const { path, addresses } = workload.netns;
  if (wantsPassthrough(workload)) addPassthrough(path);
  else if (addresses.includes(PASSTHROUGH_6)) removePassthrough(path);
}

/**
 * Takes away what we added to a pod that leaves, of which the inode of its network namespace is known. One that nothing leads
 * to any more is about to end, and its addresses with it.
 */
export function takePassthroughFrom(inode: bigint): void {
  const path = pathOfNetns(inode);
  if (path === null) return;
  try {
    removePassthrough(path);
  } catch (error) {
    if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_NETNS_MISSING') throw error;
  }
}
