/**
 * Listening sockets that a sidecar opened before its pod was enrolled. The programs capture a listener when it
 * starts to listen; one that is older is found here and duplicated into the agent, which can then put it into a sockhash.
 */
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs';
import { ShuntError } from '../errors.ts';
import { formatAddress } from '../policy/address.ts';
import { processesOf } from './cgroup.ts';
import { inNetns } from './netns.ts';
import { LITTLE_ENDIAN, netnsCookie, pidfdGetfd, pidfdOpen, systemErrorCode } from './syscall.ts';
import type { CgroupRef, NetnsRef } from './workload.ts';

/** TCP_LISTEN of enum tcp_state, as /proc/net/tcp writes it. */
const STATE_LISTEN = '0A';

/** A listening TCP socket of a network namespace. */
export interface Listener {
  /** The socket's own family: a dual-stack [::] listener is 6. */
  family: 4 | 6;
  /** Bound address, canonical text. */
  address: string;
  /** Host order. */
  port: number;
  /** Owner of the socket, in our user namespace. */
  uid: number;
  /** Inode in sockfs, as in /proc/PID/fd. */
  inode: bigint;
}

/** A listening socket of which this process holds a duplicate; disposing closes it. */
export interface HeldListener extends Listener, Disposable {
  fd: number;
  /** A process that has it open. */
  pid: number;
}

/**
 * TCP sockets that listen in the namespace, of both families.
 *
 * @param path of the namespace
 * @param port host order; without it, all
 * @throws as resolveNetns
 */
export function listeningSockets(path: string, port?: number): Listener[] {
  // A file of /proc/net shows the namespace it was opened in, so only the opening happens inside.
  const files = inNetns(path, () => [openTable('tcp'), openTable('tcp6')]);
  const listeners: Listener[] = [];
  for (const [index, fd] of files.entries()) {
    if (fd === null) continue;
    try {
      listeners.push(...readListeners(fd, index === 0 ? 4 : 6));
    } finally {
      closeSync(fd);
    }
  }
  return port === undefined ? listeners : listeners.filter((listener) => listener.port === port);
}

function openTable(name: string): number | null {
  try {
    return openSync(`/proc/thread-self/net/${name}`, 'r');
  } catch (error) {
    // No tcp6 where IPv6 is not built in.
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Listening sockets stand first in the table: reading ends at the first other one, however many connections follow. */
function readListeners(fd: number, family: 4 | 6): Listener[] {
  const listeners: Listener[] = [];
  const buffer = Buffer.alloc(16_384);
  let rest = '';
  for (;;) {
    const length = readSync(fd, buffer);
    if (length === 0) return listeners;
    const lines = (rest + buffer.toString('latin1', 0, length)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const row = parseRow(line, family);
      if (row === 'heading') continue;
      if (row === null) return listeners;
      listeners.push(row);
    }
  }
}

function parseRow(line: string, family: 4 | 6): Listener | 'heading' | null {
  const [slot = '', local = '', , state, , , , uid, , inode = ''] = line.trim().split(/\s+/);
  if (slot === 'sl') return 'heading';
  if (state !== STATE_LISTEN) return null;
  const [address = '', port = ''] = local.split(':');
  return {
    family,
    address: parseHexAddress(address),
    port: Number.parseInt(port, 16),
    uid: Number(uid),
    inode: BigInt(inode),
  };
}

/** The table prints each 32-bit word of a network-order address as a number of the host. */
function parseHexAddress(text: string): string {
  const words = Buffer.from(text, 'hex');
  if (LITTLE_ENDIAN) words.swap32();
  const bytes = new Uint8Array(16);
  if (words.length === 4) bytes.set([0xff, 0xff], 10);
  bytes.set(words, 16 - words.length);
  return formatAddress(bytes);
}

/**
 * Duplicates of the sidecar's listening sockets on a port, one for each socket (Envoy opens one for each worker). A
 * process that ends meanwhile is passed over.
 *
 * @param options.netns the pod's
 * @param options.cgroup the sidecar container's; null when it is not known
 * @param options.port host order
 * @param options.uids owners accepted when the cgroup is not known, in our user namespace
 * @throws SHUNT_E_LISTENER_TAKE when the kernel does not let us; those already taken are closed
 */
export function dupListeners(options: {
  netns: NetnsRef;
  cgroup: CgroupRef | null;
  port: number;
  uids: readonly number[];
}): HeldListener[] {
  const { netns, cgroup, port, uids } = options;
  const wanted = new Map<string, Listener>();
  for (const listener of listeningSockets(netns.path, port)) {
    if (cgroup === null && !uids.includes(listener.uid)) continue;
    wanted.set(`socket:[${listener.inode}]`, listener);
  }
  const held: HeldListener[] = [];
  try {
    for (const pid of cgroup === null ? processesInNetns(netns) : processesOf(cgroup)) {
      if (wanted.size === 0) break;
      takeFrom(pid, wanted, netns, held);
    }
  } catch (error) {
    for (const listener of held) listener[Symbol.dispose]();
    throw error;
  }
  return held;
}

function* processesInNetns(netns: NetnsRef): Iterable<number> {
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      if (statSync(`/proc/${pid}/ns/net`, { bigint: true }).ino === netns.inode) yield pid;
    } catch {
      // Ended meanwhile, or not ours to look at: then its sockets are not ours to take either.
    }
  }
}

function takeFrom(pid: number, wanted: Map<string, Listener>, netns: NetnsRef, held: HeldListener[]): void {
  for (const { fd, link } of openSockets(pid)) {
    const listener = wanted.get(link);
    if (listener === undefined) continue;
    const duplicate = duplicateSocket(pid, fd);
    if (duplicate === null) continue;
    // The process may have closed the descriptor and opened another under its number since we looked.
    if (
      fstatSync(duplicate, { bigint: true }).ino !== listener.inode ||
      netnsCookie(duplicate) !== netns.cookie
    ) {
      closeSync(duplicate);
      continue;
    }
    wanted.delete(link);
    held.push({ ...listener, fd: duplicate, pid, [Symbol.dispose]: () => closeSync(duplicate) });
  }
}

function openSockets(pid: number): { fd: number; link: string }[] {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).flatMap((name) => {
      const link = readLink(`${directory}/${name}`);
      return link.startsWith('socket:') ? [{ fd: Number(name), link }] : [];
    });
  } catch (cause) {
    if (isGone(cause)) return [];
    throw new ShuntError('SHUNT_E_LISTENER_TAKE', 'cannot list its open files', {
      target: `process ${pid}`,
      cause,
    });
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (isGone(error)) return '';
    throw error;
  }
}

function duplicateSocket(pid: number, fd: number): number | null {
  try {
    const pidfd = pidfdOpen(pid);
    try {
      return pidfdGetfd(pidfd, fd);
    } finally {
      closeSync(pidfd);
    }
  } catch (cause) {
    if (isGone(cause) || systemErrorCode(cause) === 'EBADF') return null;
    throw new ShuntError('SHUNT_E_LISTENER_TAKE', undefined, { target: `process ${pid}`, cause });
  }
}

/** A process that ended: its files are ENOENT, its calls ESRCH. */
function isGone(error: unknown): boolean {
  return ['ENOENT', 'ESRCH'].includes(systemErrorCode(error) ?? '');
}
