import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroup2Mounts } from '../pod/cgroup.ts';

/**
 * Names that kubelet's two cgroup drivers, systemd and cgroupfs, give the cgroup above all pods: alone, and below the
 * `--cgroup-root` that kind gives it.
 */
const NAMES = ['kubepods.slice', 'kubepods', 'kubelet.slice/kubelet-kubepods.slice', 'kubelet/kubepods'];

/**
 * The cgroup above all pods of this node, or null where there is none. A kubelet that changed its driver leaves the old
 * one behind, empty.
 *
 * @param mounts of cgroup2
 * @throws SHUNT_E_CGROUP2_MISSING
 */
export function kubepodsCgroup(mounts: readonly string[] = cgroup2Mounts()): string | null {
  const found = mounts.flatMap((mount) => NAMES.map((name) => join(mount, name))).filter(existsSync);
  return found.find(isPopulated) ?? found[0] ?? null;
}

/** A process runs in it or below it (cgroup-v2.rst, cgroup.events). */
function isPopulated(path: string): boolean {
  const events = join(path, 'cgroup.events');
  return existsSync(events) && /^populated 1$/m.test(readFileSync(events, 'utf8'));
}
