import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cgroup2Mounts } from '../pod/cgroup.ts';

/** Names that kubelet's two cgroup drivers, systemd and cgroupfs, give the cgroup above all pods. */
const NAMES = ['kubepods.slice', 'kubepods'];

/**
 * The cgroup above all pods of this node, or null where there is none.
 *
 * @throws SHUNT_E_CGROUP2_MISSING
 */
export function kubepodsCgroup(): string | null {
  for (const mount of cgroup2Mounts()) {
    for (const name of NAMES) {
      const path = join(mount, name);
      if (existsSync(path)) return path;
    }
  }
  return null;
}
