/**
 * Takes everything of ours out of the kernel, and proves that it is gone. Needs no agent and no compiled objects: it
 * goes by the pins, and for the proof by what the kernel lists.
 */
import { rmdirSync, unlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BpfError, Link, listLinks, listMaps, listPrograms } from 'libbpf-ts';
import * as v from 'valibot';
import { findHolders } from './holders.ts';
import { takePassthroughFrom } from './passthrough.ts';
import { findPins, type Pin } from './pin_tree.ts';
import { type MapEntry, PinnedMap } from './pinned_map.ts';
import { KERNEL_PREFIX, Pins } from './pins.ts';

/** Something of ours that the kernel still has. */
export interface Leftover {
  kind: 'program' | 'map' | 'link' | 'pin';
  /** Kernel id; null for a pin. */
  id: number | null;
  name: string;
  /** What keeps it, as far as can be seen: processes that hold it open, pins. */
  heldBy: string[];
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
  const inode = pin.kind === 'link' ? netnsOf(pin.path) : null;
  if (pin.kind !== 'map') detach(pin.path);
  if (inode !== null) takePassthroughFrom(inode);
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

/** Longer than the kernel's work queues take when the machine is not busy. */
const SETTLE_MS = 1_000;

/**
 * Waits until nothing is left, or what is left is held by somebody, or the time is up: the kernel frees programs and
 * maps some milliseconds after their last reference went, from a work queue.
 *
 * @returns what is left then, with what holds it; empty when the node is clean
 */
export async function waitClean(bpffs: string, timeoutMs: number): Promise<Leftover[]> {
  const start = performance.now();
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    const left = findLeftovers(bpffs);
    if (left.length === 0) return [];
    const waitedMs = performance.now() - start;
    const pinned = left.some(({ kind }) => kind === 'pin');
    if (pinned || waitedMs >= SETTLE_MS || waitedMs >= timeoutMs) {
      const holders = findHolders();
      for (const item of left) item.heldBy = [...(holders.get(`${item.kind} ${item.id}`) ?? [])];
      // Neither our own pins go by themselves, nor what somebody holds.
      const held = left.some(({ heldBy }) => heldBy.length > 0);
      if (pinned || held || waitedMs >= timeoutMs) return left;
    }
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

/** Inode of the network namespace that a pod's attachment is in; null for any other pin. */
function netnsOf(path: string): bigint | null {
  try {
    using link = Link.fromPin(path);
    const { netnsIno = 0 } = link.info();
    return netnsIno === 0 ? null : BigInt(netnsIno);
  } catch (error) {
    if (error instanceof BpfError) return null;
    throw error;
  }
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
