/** ::6 on the lo of a pod that leaves: what is known of it then is the inode of its network namespace. */
import { ShuntError } from '../../errors.ts';
import { pathOfNetns } from '../../pod/netns_path.ts';
import { removePassthrough } from '../../pod/passthrough_address.ts';

/** Takes away what we added. A namespace that nothing leads to any more is about to end, and its addresses with it. */
export function takePassthroughFrom(inode: bigint): void {
  const path = pathOfNetns(inode);
  if (path === null) return;
  try {
    removePassthrough(path);
  } catch (error) {
    if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_NETNS_MISSING') throw error;
  }
}
