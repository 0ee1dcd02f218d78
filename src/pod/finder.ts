/**
 * Finds the pods of a kubelet on its node: network namespace and container cgroups by the pod's uid, from the names of
 * cgroups and the processes in them. Asks no container runtime, and trusts nothing that is written into the pod.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { cgroup2Mounts, processesOf } from './cgroup.ts';
import { readCgroupPath, readProcessCgroup } from './cgroup_path.ts';
import { type PodPlace, placeOf, podTarget } from './locate.ts';
import { resolveNetns } from './netns.ts';
import { systemErrorCode } from './syscall.ts';
import type { CgroupRef, NetnsRef, PodObject } from './workload.ts';

/** Levels above the kubelet's pods: none, or those of a container that is the node and of the kubelet in it. */
const DEPTH_OF_KUBEPODS = 5;
/** Of a process that is the host's, or has ended. */
const NO_POD: readonly string[] = ['SHUNT_E_NETNS_MISSING', 'SHUNT_E_NETNS_HOST'];

export interface FinderOptions {
  /** Where cgroup v2 is mounted; by default as this process sees it, nowhere perhaps. */
  mounts?: readonly string[];
  /** /proc of the host's PID namespace. */
  proc?: string;
}

/**
 * Remembers where pods were, so that finding 500 takes one walk over the cgroups. Where cgroup v2 has nothing of a pod
 * (v1 alone, or beside a v2 that the runtime does not use) its processes are found by their /proc/PID/cgroup; their
 * containers have no id that a program could know then, and sidecars are told by uid and gid alone.
 */
export class PodFinder {
  readonly #mounts: readonly string[];
  readonly #proc: string;
  #directories = new Map<string, string[]>();
  /** Where the last walk found pods, whichever they were: a new one is looked for there first. */
  #shapes: readonly DirectoryShape[] = [];
  /** How many pods the last walk, or the last look at all of them, found. */
  #walked = 0;
  /** By the uid of the pod; null before it is read. */
  #processes: Map<string, ProcessOfPod[]> | null = null;
  #fresh = false;

  constructor(options: FinderOptions = {}) {
    this.#mounts = options.mounts ?? mountsHere();
    this.#proc = options.proc ?? '/proc';
  }

  /** What was learnt of the node so far may be old now: called before each pass over the pods. */
  expire(): void {
    this.#fresh = false;
    this.#processes = null;
  }

  /**
   * Where the pod is.
   *
   * @param sidecarContainer whose cgroup is wanted
   * @throws SHUNT_E_POD_NOT_STARTED, SHUNT_E_POD_IP_MISMATCH, and as resolveNetns
   */
  locate(pod: PodObject, sidecarContainer: string): PodPlace {
    const containers = this.#containers(uidOf(pod));
    const sidecar = idOf(pod, sidecarContainer);
    const path = containers.find(({ id }) => id === sidecar)?.path ?? null;
    return placeOf(pod, this.#netns(pod, containers), path === null ? null : cgroupRef(path));
  }

  /** The pod's own cgroups, where it was found last: those of its containers come and go in them. */
  directories(pod: PodObject): string[] {
    return this.#directories.get(uidOf(pod)) ?? [];
  }

  /** Whether anything of the pod still runs on this node. */
  isRunning(pod: PodObject): boolean {
    return this.#containers(uidOf(pod)).some(({ pids }) => pids().length > 0);
  }

  #containers(uid: string): FoundContainer[] {
    const found = this.#podDirectories(uid).flatMap(containersIn);
    if (found.some(({ pids }) => pids().length > 0)) return found;
    this.#processes ??= readProcesses(this.#proc);
    const processes = this.#processes.get(uid) ?? [];
    return [
      ...found,
      ...processes.map(({ pid, container }) => ({ id: container, path: null, pids: () => [pid] })),
    ];
  }

  #podDirectories(uid: string): string[] {
    const known = this.#directories.get(uid);
    if (known?.every((path) => statSync(path, { throwIfNoEntry: false }) !== undefined)) return known;
    const beside = this.#shapes.flatMap((shape) => existing(shape(uid)));
    if (beside.length > 0) this.#remember(uid, beside);
    else if (!this.#fresh) {
      this.#directories = walk(this.#mounts);
      this.#shapes = shapesOf(this.#directories);
      this.#walked = this.#directories.size;
      this.#fresh = true;
    }
    return this.#directories.get(uid) ?? [];
  }

  /** Pods that are gone are forgotten by the next walk, which may be long in coming, or when they are many. */
  #remember(uid: string, paths: string[]): void {
    this.#directories.set(uid, paths);
    if (this.#directories.size < 2 * this.#walked + 64) return;
    for (const [known, each] of this.#directories)
      if (each.flatMap(existing).length === 0) this.#directories.delete(known);
    this.#walked = this.#directories.size;
  }

  /**
   * Of the sandbox where that has a process, else of the container that runs longest. A container may hold namespaces of
   * its own making, so one that has the pod's addresses is preferred.
   */
  #netns(pod: PodObject, containers: readonly FoundContainer[]): NetnsRef {
    const named = new Set((pod.status.containers ?? []).map(({ id }) => id));
    const seen = new Set<bigint>();
    let other: NetnsRef | null = null;
    const sandboxFirst = [...containers].sort((a, b) => Number(named.has(a.id)) - Number(named.has(b.id)));
    for (const pid of sandboxFirst.flatMap(({ pids }) => pids().sort((a, b) => a - b))) {
      const netns = this.#netnsOf(pid, seen);
      if (netns === null) continue;
      if (pod.status.podIPs.every((ip) => netns.addresses.includes(ip))) return netns;
      other ??= netns;
    }
    if (other !== null) return other;
    throw new ShuntError('SHUNT_E_POD_NOT_STARTED', undefined, { target: podTarget(pod) });
  }

  /** Null for the host's, for one that was looked at before, and when the process ended meanwhile. */
  #netnsOf(pid: number, seen: Set<bigint>): NetnsRef | null {
    const path = `${this.#proc}/${pid}/ns/net`;
    try {
      const { ino } = statSync(path, { bigint: true });
      if (seen.has(ino)) return null;
      seen.add(ino);
      return resolveNetns(path);
    } catch (error) {
      if (error instanceof ShuntError && !NO_POD.includes(error.code)) throw error;
      return null;
    }
  }
}

interface FoundContainer {
  id: string | null;
  /** Its cgroup v2 directory; null when it is known by its processes alone. */
  path: string | null;
  pids(): number[];
}

interface ProcessOfPod {
  pid: number;
  container: string | null;
}

function uidOf(pod: PodObject): string {
  return pod.metadata.staticUid ?? pod.metadata.uid ?? '';
}

function idOf(pod: PodObject, container: string): string | undefined {
  return pod.status.containers?.find(({ name }) => name === container)?.id ?? undefined;
}

function containersIn(podPath: string): FoundContainer[] {
  return subdirectories(podPath).flatMap((name) => {
    const path = join(podPath, name);
    const id = readCgroupPath(path)?.container ?? null;
    return id === null ? [] : [{ id, path, pids: () => processesOf({ path, id: 0n }) }];
  });
}

function mountsHere(): string[] {
  try {
    return cgroup2Mounts();
  } catch (error) {
    if (error instanceof ShuntError && error.code === 'SHUNT_E_CGROUP2_MISSING') return [];
    throw error;
  }
}

/** Every pod's cgroups by uid. */
function walk(mounts: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const mount of mounts) {
    const open = [{ path: mount, depth: 0 }];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const name of subdirectories(at.path)) {
        const path = join(at.path, name);
        const pod = readCgroupPath(path.slice(mount.length));
        if (pod !== null) found.set(pod.uid, [...(found.get(pod.uid) ?? []), path]);
        // Below kubepods there are two levels more, of the quality of service and of the pods.
        else if (at.depth < DEPTH_OF_KUBEPODS + 2) open.push({ path, depth: at.depth + 1 });
      }
    }
  }
  return found;
}

/** The path that the cgroup of a pod has, by its uid. */
type DirectoryShape = (uid: string) => string;

/** Kubelets and quality of service make some few. */
function shapesOf(directories: ReadonlyMap<string, readonly string[]>): DirectoryShape[] {
  const shapes = new Map<string, DirectoryShape>();
  for (const [uid, paths] of directories) {
    // Dashes tell the drivers apart, and a static pod's uid has none.
    if (!uid.includes('-')) continue;
    for (const path of paths) {
      const written = path.includes(uid) ? '-' : '_';
      const text = uid.replaceAll('-', written);
      const at = path.lastIndexOf(text);
      const [before, after] = [path.slice(0, at), path.slice(at + text.length)];
      shapes.set(`${before} ${written} ${after}`, (of) => `${before}${of.replaceAll('-', written)}${after}`);
    }
  }
  return [...shapes.values()];
}

function existing(path: string): string[] {
  return statSync(path, { throwIfNoEntry: false }) === undefined ? [] : [path];
}

function readProcesses(proc: string): Map<string, ProcessOfPod[]> {
  const found = new Map<string, ProcessOfPod[]>();
  for (const name of readdirSync(proc)) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const pod = readProcessCgroup(readFileSync(join(proc, name, 'cgroup'), 'utf8'));
      if (pod === null) continue;
      const { uid, container } = pod;
      found.set(uid, [...(found.get(uid) ?? []), { pid: Number(name), container }]);
    } catch (error) {
      // Ended meanwhile.
      if (!['ENOENT', 'ESRCH'].includes(systemErrorCode(error) ?? '')) throw error;
    }
  }
  return found;
}

function subdirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? entry.name : [],
    );
  } catch (error) {
    // Removed while we looked.
    if (['ENOENT', 'ENODEV'].includes(systemErrorCode(error) ?? '')) return [];
    throw error;
  }
}

function cgroupRef(path: string): CgroupRef | null {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : { path, id: stat.ino };
}
