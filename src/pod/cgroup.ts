/** The cgroup v2 directories of pods and their containers. */
import { readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { systemErrorCode } from './syscall.ts';
import type { CgroupRef, PodObject } from './workload.ts';

const CGROUP2_SUPER_MAGIC = 0x63677270;

/** Where the pod's cgroup is; containers are looked for right below it. */
export const CGROUP_ANNOTATION = 'shunt.dev/cgroup';

/**
 * Mount points of cgroup v2, those that show the whole hierarchy first. On a hybrid host that is
 * /sys/fs/cgroup/unified, beside the v1 controllers.
 *
 * @throws SHUNT_E_CGROUP2_MISSING when there is none
 */
export function cgroup2Mounts(): [string, ...string[]] {
  const nowMs = performance.now();
  if (known !== null && nowMs < known.untilMs && known.mounts.every(isCgroup2)) return known.mounts;
  const [first, ...rest] = parseCgroup2Mounts(readFileSync('/proc/self/mountinfo', 'utf8')).filter(isCgroup2);
  if (first === undefined) throw new ShuntError('SHUNT_E_CGROUP2_MISSING');
  known = { mounts: [first, ...rest], untilMs: nowMs + KNOWN_MS };
  return known.mounts;
}

/**
 * A pass asks for each pod, and the table has a line or more for each pod as well: with 500 pods its reading was a third
 * of what the agent did.
 */
const KNOWN_MS = 1_000;
let known: { mounts: [string, ...string[]]; untilMs: number } | null = null;

/** @param mountinfo text of /proc/PID/mountinfo (proc_pid_mountinfo(5)) */
export function parseCgroup2Mounts(mountinfo: string): string[] {
  const whole: string[] = [];
  const partial: string[] = [];
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    const [, , , root, mountPoint] = fields;
    if (separator === -1 || fields[separator + 1] !== 'cgroup2' || mountPoint === undefined) continue;
    (root === '/' ? whole : partial).push(unescapeOctal(mountPoint));
  }
  return [...whole, ...partial];
}

/** The kernel writes space, tab, newline and backslash as \ooo. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function isCgroup2(path: string): boolean {
  try {
    return statfsSync(path).type === CGROUP2_SUPER_MAGIC;
  } catch {
    // Mounted over, or closed to us: of no use either way.
    return false;
  }
}

/**
 * A cgroup v2 directory and its id.
 *
 * @param path absolute, or relative to the cgroup2 mount
 * @throws SHUNT_E_CGROUP2_MISSING, SHUNT_E_CGROUP_MISSING, SHUNT_E_CGROUP_NOT_V2
 */
export function resolveCgroup(path: string): CgroupRef {
  const [mount] = cgroup2Mounts();
  const absolute = isAbsolute(path) ? path : join(mount, path);
  const cgroup = findCgroup(absolute);
  if (cgroup === null) throw new ShuntError('SHUNT_E_CGROUP_MISSING', undefined, { target: absolute });
  return cgroup;
}

function findCgroup(path: string): CgroupRef | null {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (!stat.isDirectory() || statfsSync(path).type !== CGROUP2_SUPER_MAGIC) {
    throw new ShuntError('SHUNT_E_CGROUP_NOT_V2', undefined, { target: path });
  }
  return { path, id: stat.ino };
}

/** False when it is gone, also where another one has its name by now. */
export function isThere({ path, id }: CgroupRef): boolean {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino === id;
}

/**
 * The cgroup of one container of a pod: the annotation `shunt.dev/cgroup.<container>`, else the directory of the
 * container's name below `shunt.dev/cgroup`, else null.
 *
 * @throws as resolveCgroup, when an annotation names a directory that is not there
 */
export function containerCgroup(pod: PodObject, container: string): CgroupRef | null {
  const { annotations } = pod.metadata;
  const own = annotations[`${CGROUP_ANNOTATION}.${container}`];
  if (own !== undefined) return resolveCgroup(own);
  const pods = annotations[CGROUP_ANNOTATION];
  return pods === undefined ? null : findCgroup(join(resolveCgroup(pods).path, container));
}

/** Directories in which the cgroups of the pod's containers come and go, as far as its annotations name them. */
export function containerDirectories(pod: PodObject): string[] {
  const named = Object.entries(pod.metadata.annotations).flatMap(([name, path]) => {
    if (name === CGROUP_ANNOTATION) return [path];
    return name.startsWith(`${CGROUP_ANNOTATION}.`) ? [dirname(path)] : [];
  });
  if (named.every(isAbsolute)) return named;
  // Here, and not always: a node that runs iptables may have no cgroup2.
  const [mount] = parseCgroup2Mounts(readFileSync('/proc/self/mountinfo', 'utf8'));
  return named.flatMap((path) => {
    if (isAbsolute(path)) return [path];
    return mount === undefined ? [] : [join(mount, path)];
  });
}

/** Ids of the processes in the cgroup and below it, as seen from our PID namespace. */
export function processesOf(cgroup: CgroupRef): number[] {
  const pids: number[] = [];
  const open = [cgroup.path];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    try {
      pids.push(...readPids(join(path, 'cgroup.procs')));
      for (const entry of readdirSync(path, { withFileTypes: true })) {
        if (entry.isDirectory()) open.push(join(path, entry.name));
      }
    } catch (error) {
      // Removed while we looked (ENOENT, ENODEV): its processes are gone. EOPNOTSUPP: a threaded cgroup, whose
      // processes stand in the domain above.
      if (!['ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP'].includes(systemErrorCode(error) ?? '')) throw error;
    }
  }
  return pids;
}

function readPids(file: string): number[] {
  // 0 stands for a process outside our PID namespace.
  return readFileSync(file, 'utf8')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}
