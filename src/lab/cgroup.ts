import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { until } from './deadline.ts';

const KILL_DEADLINE_MS = 2_000;

/**
 * Mount point of cgroup v2: /sys/fs/cgroup on a pure v2 host, /sys/fs/cgroup/unified beside v1.
 *
 * @param mountinfo text of /proc/self/mountinfo (proc(5))
 * @throws SHUNT_E_LAB_CGROUP2 when none is mounted
 */
export function cgroup2Mount(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): string {
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    if (after.split(' ')[0] !== 'cgroup2') continue;
    const [, , , root, point] = before.split(' ');
    if (root === '/' && point !== undefined) return point.replaceAll('\\040', ' ');
  }
  throw new ShuntError('SHUNT_E_LAB_CGROUP2');
}

/** A cgroup v2 directory made for the test bed, removed with everything below it. */
export class CgroupTree implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes `<mount>/<name>`; the name is the lab's prefix. */
  static make(name: string): CgroupTree {
    const path = join(cgroup2Mount(), name);
    mkdirSync(path);
    return new CgroupTree(path);
  }

  /** Makes a directory below, with its parents, and returns its absolute path. */
  add(...names: string[]): string {
    const path = join(this.path, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeCgroup(this.path);
  }
}

/**
 * Removes a cgroup and all below it, and ends whatever still runs in it. It stays busy until the last process has
 * been reaped, which takes a moment after its end.
 *
 * @throws SHUNT_E_LAB_TIMEOUT when processes stay in it
 */
export async function removeCgroup(path: string): Promise<void> {
  const look = (): true | undefined => {
    if (tryRemove(path)) return true;
    killAll(path);
    return undefined;
  };
  await until(look, {
    what: `the processes in ${path} to end`,
    timeoutMs: 5_000,
  });
}

/** The same at once, for the end of a process; what stays busy is left. */
export function removeCgroupNow(path: string): void {
  const end = performance.now() + KILL_DEADLINE_MS;
  for (;;) {
    killAll(path);
    if (tryRemove(path) || performance.now() > end) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}

/** True when nothing is left of it. */
export function tryRemove(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return true;
  let empty = true;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory() && !tryRemove(join(path, entry.name))) empty = false;
  }
  if (!empty) return false;
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EBUSY') return false;
    if (code === 'ENOENT') return true;
    throw error;
  }
}

/** Kills every process in a cgroup and in those below it. */
export function killAll(path: string): void {
  for (const pid of processesIn(path)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Pids of the processes in a cgroup and in those below it. */
export function processesIn(path: string): number[] {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return [];
  const pids = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) pids.push(...processesIn(join(path, entry.name)));
  }
  return pids;
}
