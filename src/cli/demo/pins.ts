import { findLeftovers, type Leftover } from '../../datapath/ebpf/cleanup.ts';
import { listOwnPrograms, listPinnedLinks, listPinnedMaps } from '../../datapath/ebpf/inspect.ts';
import { ShuntError } from '../../errors.ts';
import { attempt } from '../../lab/command.ts';
import { until } from '../../lab/deadline.ts';
import { rulesOf } from '../../lab/iptables.ts';
import type { Lab } from '../../lab/lab.ts';

export interface RemovalOptions {
  /** How the CLI is run. */
  cli: readonly [string, ...string[]];
  socket: string;
  bpffs: string;
}

/** The kernel's work queues free what was unpinned; it takes milliseconds, on a busy node seconds. */
const KERNEL_FREE_MS = 10_000;

/**
 * Takes everything of the demo's agent out of the kernel with `shunt cleanup`, and proves it. What stood under other
 * pins is not looked at, unlike with `shunt cleanup --verify`: a node may carry more than the demo.
 *
 * @throws SHUNT_E_CLEANUP_LEFT
 */
export async function removePins({ cli, socket, bpffs }: RemovalOptions): Promise<void> {
  const ours = pinnedObjects(bpffs);
  await cleanUp({ cli, socket, bpffs });
  let left: Leftover[] = [];
  try {
    await until(
      () => {
        left = findLeftovers(bpffs).filter(({ kind, id }) => kind === 'pin' || ours.has(`${kind} ${id}`));
        return left.length === 0 ? true : undefined;
      },
      { what: 'the kernel to free what was unpinned', timeoutMs: KERNEL_FREE_MS },
    );
  } catch (cause) {
    const names = left.map(({ kind, id, name }) => `${kind} ${id ?? ''} ${name}`).join('; ');
    throw new ShuntError('SHUNT_E_CLEANUP_LEFT', names, { target: 'shunt cleanup', cause });
  }
}

/**
 * Takes the rules of the demo's agent out of the pods with `shunt cleanup`, and asks iptables whether they are gone.
 *
 * @throws SHUNT_E_CLEANUP_LEFT
 */
export async function removeAgentRules(lab: Lab, removal: RemovalOptions): Promise<void> {
  await cleanUp(removal);
  for (const { netns } of lab.pods.values()) {
    const left = /^.*SHUNT_.*$/m.exec(await rulesOf(netns));
    if (left !== null) throw new ShuntError('SHUNT_E_CLEANUP_LEFT', left[0], { target: netns.name });
  }
}

/** `shunt cleanup`. @throws SHUNT_E_CLEANUP_LEFT with what it said */
export async function cleanUp({ cli, socket, bpffs }: RemovalOptions): Promise<void> {
  const [program, ...args] = [...cli, 'cleanup', '--bpffs', bpffs, '--socket', socket];
  const { code, stdout, stderr } = await attempt([program ?? process.execPath, ...args]);
  if (code !== 0) {
    throw new ShuntError('SHUNT_E_CLEANUP_LEFT', `${stdout}${stderr}`.trim(), { target: 'shunt cleanup' });
  }
}

/** `kind id` of everything that hangs on the pins below a BPF file system. */
function pinnedObjects(bpffs: string): Set<string> {
  const links = listPinnedLinks(bpffs);
  const programs = new Set(links.map(({ programId }) => programId));
  const maps = listOwnPrograms(bpffs).filter(({ programId }) => programs.has(programId));
  return new Set([
    ...links.map(({ linkId }) => `link ${linkId}`),
    ...[...programs].map((id) => `program ${id}`),
    ...listPinnedMaps(bpffs).map(({ mapId }) => `map ${mapId}`),
    ...maps.flatMap(({ mapIds }) => mapIds.map((id) => `map ${id}`)),
  ]);
}
