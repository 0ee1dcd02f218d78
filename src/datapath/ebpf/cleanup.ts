/**
 * Takes everything of ours out of the kernel, and proves that it is gone. Needs no agent and no compiled objects: it
 * goes by the pins, and for the proof by what the kernel lists.
 */
import { type Dirent, readdirSync, readFileSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BpfError, Link, listLinks, listMaps, listPrograms } from 'libbpf-ts';
import * as v from 'valibot';
import { type MapEntry, PinnedMap } from './pinned_map.ts';
import { KERNEL_PREFIX, Pins } from './pins.ts';

export interface Pin {
  kind: 'link' | 'map' | 'directory' | 'other';
  path: string;
}

/** Something of ours that the kernel still has. */
export interface Leftover {
  kind: 'program' | 'map' | 'link' | 'pin';
  /** Kernel id; null for a pin. */
  id: number | null;
  name: string;
  /** What keeps it, as far as can be seen: processes that hold it open. */
  heldBy: string[];
}

/**
 * All pins in the order in which to remove them: attachments before the maps their programs read, pods' before the
 * node's, directories when they are empty.
 */
export function findPins(bpffs: string): Pin[] {
  const pins = new Pins(bpffs);
  const found = walk(pins.root);
  const order = (pin: Pin): number => {
    if (pin.kind === 'directory') return 4;
    if (pin.path.startsWith(`${pins.podsRoot}/`)) return 0;
    return { link: 1, other: 2, map: 3 }[pin.kind];
  };
  const kindOf = (path: string): Pin['kind'] => {
    if (path.startsWith(`${pins.links}/`) || path.startsWith(`${pins.podsRoot}/`)) return 'link';
    return path.startsWith(`${pins.maps}/`) ? 'map' : 'other';
  };
  return found
    .map(({ path, directory }): Pin => ({ kind: directory ? 'directory' : kindOf(path), path }))
    .sort((a, b) => order(a) - order(b) || depth(b.path) - depth(a.path) || (a.path < b.path ? -1 : 1));
}

/**
 * Removes one pin. A link is detached first, so that it goes at once even where another process still holds it.
 * What is gone already is no error.
 */
export function removePin(pin: Pin): void {
  if (pin.kind === 'directory') {
    ignoreMissing(() => rmdirSync(pin.path));
    return;
  }
  if (pin.kind !== 'map') detach(pin.path);
  ignoreMissing(() => unlinkSync(pin.path));
}

/**
 * What the kernel has of ours: programs and maps by their names' prefix, maps that only our programs use, links of our
 * programs, and our pins.
 *
 * @param bpffs whose pins to look at; kernel objects are looked for on the whole node
 */
export function findLeftovers(bpffs: string): Leftover[] {
  const programs = [...listPrograms()].filter(({ name }) => name.startsWith(KERNEL_PREFIX));
  const programIds = new Set(programs.map(({ id }) => id));
  const used = new Set(programs.flatMap(({ mapIds }) => mapIds));
  const maps = [...listMaps()].filter(({ id, name }) => name.startsWith(KERNEL_PREFIX) || used.has(id));
  const links = [...listLinks()].filter(({ programId }) => programIds.has(programId));
  const leftovers: Leftover[] = [
    ...links.map(({ id, type }) => ({ kind: 'link' as const, id, name: type, heldBy: [] })),
    ...programs.map(({ id, name }) => ({ kind: 'program' as const, id, name, heldBy: [] })),
    ...maps.map(({ id, name }) => ({ kind: 'map' as const, id, name, heldBy: [] })),
    ...findPins(bpffs).map(({ path }) => ({ kind: 'pin' as const, id: null, name: path, heldBy: [] })),
  ];
  return leftovers;
}

/**
 * Waits until nothing is left, or the time is up: the kernel frees programs and maps some milliseconds after their
 * last reference went, from a work queue.
 *
 * @returns what is left then, with the processes that hold it; empty when the node is clean
 */
export async function waitClean(bpffs: string, timeoutMs: number): Promise<Leftover[]> {
  const end = performance.now() + timeoutMs;
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    const left = findLeftovers(bpffs);
    if (left.length === 0) return [];
    // Pins do not go by themselves.
    if (performance.now() >= end || left.every(({ kind }) => kind === 'pin')) return withHolders(left);
    await delay(pauseMs);
  }
}

const Flow = v.object({ in_bytes: v.bigint(), done_bytes: v.bigint() });

/**
 * Switches the acceleration off and gives readers a moment to take what was redirected to them, since data that lies
 * in a socket's queue is lost when the socket leaves the sockhash. An end says that it has read only when it sends
 * again, so idle connections make this take all of its time.
 */
export async function drainAcceleration(bpffs: string, timeoutMs: number): Promise<void> {
  const pinned = new Pins(bpffs).mapNames();
  if (!pinned.includes('settings') || !pinned.includes('flows')) return;
  using settings = new PinnedMap(bpffs, 'settings');
  const value = v.parse(v.looseObject({ flags: v.string() }), settings.get('0')?.value);
  const flags = value.flags.split('|').filter((flag) => flag !== 'SETTINGS_ACCEL');
  settings.set({ key: 0, value: { ...value, flags: flags.join('|') || '0' } });
  using flows = new PinnedMap(bpffs, 'flows');
  const unread = (entry: MapEntry): boolean => {
    const flow = v.parse(Flow, entry.value);
    return flow.in_bytes !== flow.done_bytes;
  };
  const end = performance.now() + timeoutMs;
  while (performance.now() < end && flows.entries().some(unread)) await delay(20);
}

function detach(path: string): void {
  let link: Link;
  try {
    link = Link.fromPin(path);
  } catch (error) {
    // Not a link (a stray), or gone: removing the file is all there is to do.
    if (error instanceof BpfError) return;
    throw error;
  }
  try {
    link.detach();
  } catch (error) {
    // ENOTSUP: iterators and kernels before 5.9. ENOLINK, EINVAL, ENOENT: the cgroup or the namespace is gone.
    if (!(error instanceof BpfError)) throw error;
  } finally {
    link.close();
  }
}

/** Descriptors that name their object in /proc/PID/fdinfo. */
const FD_KINDS = [
  { target: /^anon_inode:bpf-prog$/, line: /^prog_id:\s*(\d+)$/m, kind: 'program' },
  { target: /^anon_inode:bpf-map$/, line: /^map_id:\s*(\d+)$/m, kind: 'map' },
  { target: /^anon_inode:bpf[-_]link$/, line: /^link_id:\s*(\d+)$/m, kind: 'link' },
] as const;

function withHolders(left: Leftover[]): Leftover[] {
  const holders = new Map<string, Set<string>>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const object of openObjects(pid)) {
      const names = holders.get(object) ?? new Set();
      names.add(`${commandOf(pid)}[${pid}]`);
      holders.set(object, names);
    }
  }
  return left.map((item) => ({ ...item, heldBy: [...(holders.get(`${item.kind} ${item.id}`) ?? [])] }));
}

function openObjects(pid: string): string[] {
  return readable(() => readdirSync(`/proc/${pid}/fd`), []).flatMap((fd) => {
    const target = readable(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '');
    const kind = FD_KINDS.find((candidate) => candidate.target.test(target));
    if (kind === undefined) return [];
    const id = kind.line.exec(readable(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'), ''))?.[1];
    return id === undefined ? [] : [`${kind.kind} ${id}`];
  });
}

/** A process may end, or close a file, while we look: what it held is then gone too. */
function readable<T>(read: () => T, gone: T): T {
  try {
    return read();
  } catch {
    return gone;
  }
}

function commandOf(pid: string): string {
  return readable(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), 'ended');
}

function walk(directory: string): { path: string; directory: boolean }[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  const below = entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? walk(path) : [{ path, directory: false }];
  });
  return [...below, { path: directory, directory: true }];
}

function depth(path: string): number {
  return path.split('/').length;
}

function ignoreMissing(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
