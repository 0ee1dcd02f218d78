import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { cgroup2Mount, removeCgroupNow } from './cgroup.ts';
import { netnsOf, removeNetnsNow } from './topology.ts';

/** State of every running lab: one folder a prefix, removed with it. */
const LABS = '/run/shunt-lab';

/** What a lab of a prefix leaves on a node, so that it can be found again by name alone. */
function remains(prefix: string): { folder: string; programs: string; cgroups: string[] } {
  const mount = cgroup2Mount();
  return {
    folder: join(LABS, prefix),
    programs: `/var/tmp/${prefix}-programs`,
    cgroups: [prefix, `${prefix}-baseline`].map((name) => join(mount, name)),
  };
}

/**
 * The exclusive use of a prefix. A lab whose process died without cleaning up is swept before its prefix is
 * given out again; one that is alive is an error.
 */
export class Claim implements Disposable {
  readonly prefix: string;
  /** Configuration, logs and manifests; readable by every uid. */
  readonly folder: string;
  /** Copies of programs that other uids could not run in place; /run forbids execution on many systems. */
  readonly programs: string;

  private constructor(prefix: string) {
    const { folder, programs } = remains(prefix);
    this.prefix = prefix;
    this.folder = folder;
    this.programs = programs;
  }

  /** @throws SHUNT_E_LAB_IN_USE */
  static take(prefix: string): Claim {
    assertFree(prefix);
    const claim = new Claim(prefix);
    sweep(prefix);
    mkdirSync(claim.folder, { recursive: true, mode: 0o755 });
    writeFileSync(join(claim.folder, 'owner'), `${process.pid} ${startTime(process.pid)}\n`);
    return claim;
  }

  /** Removes all that is left of the lab, at once: also what an orderly end comes down to when nothing remains. */
  [Symbol.dispose](): void {
    sweep(this.prefix);
  }
}

/** @throws SHUNT_E_LAB_IN_USE when a living process holds the lab of this prefix */
export function assertFree(prefix: string): void {
  const owner = ownerOf(remains(prefix).folder);
  if (owner === null) return;
  throw new ShuntError('SHUNT_E_LAB_IN_USE', `is in use by process ${owner}`, { target: prefix });
}

/** Pid of the living process that holds a lab; null when it is free or its holder is dead. */
function ownerOf(folder: string): number | null {
  const file = join(folder, 'owner');
  if (!existsSync(file)) return null;
  const [pid, started] = readFileSync(file, 'utf8').trim().split(' ');
  return startTime(Number(pid)) === started ? Number(pid) : null;
}

/** Field 22 of /proc/PID/stat (proc(5)): tells a process from a later one of the same pid. */
function startTime(pid: number): string | undefined {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8');
  // The second field, the command's name, may hold spaces: count from behind it.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

/** Ends and removes everything that a lab of this prefix left, synchronously, so that it can run at exit. */
export function sweep(prefix: string): void {
  const { folder, programs, cgroups } = remains(prefix);
  for (const cgroup of cgroups) removeCgroupNow(cgroup);
  removeNetnsNow(netnsOf(prefix));
  rmSync(folder, { recursive: true, force: true });
  removeIfEmpty(LABS);
  rmSync(programs, { recursive: true, force: true });
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    // Another lab's folder is in it, or it went this moment.
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw error;
  }
}
