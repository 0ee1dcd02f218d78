/**
 * Listening sockets that a sidecar opened before its pod was enrolled. The programs capture a listener when it
 * starts to listen; one that is older is found here and duplicated into the agent, which can then put it into a sockhash.
 */
import { closeSync, fstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { ShuntError } from '../errors.ts';
import { processesOf } from './cgroup.ts';
import { type Listener, listeningSockets } from './socket_table.ts';
import { pidfdGetfd, pidfdOpen, socketNetns, systemErrorCode } from './syscall.ts';
import type { CgroupRef, NetnsRef } from './workload.ts';

/** A listening socket of which this process holds a duplicate; disposing closes it. */
export interface HeldListener extends Listener, Disposable {
  fd: number;
  /** A process that has it open. */
  pid: number;
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
  // A pod that starts has none yet; to look through every process of the node for it costs milliseconds.
  if (wanted.size === 0) return held;
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
    if (fstatSync(duplicate, { bigint: true }).ino !== listener.inode || netnsOf(duplicate) !== netns.inode) {
      closeSync(duplicate);
      continue;
    }
    wanted.delete(link);
    held.push({ ...listener, fd: duplicate, pid, [Symbol.dispose]: () => closeSync(duplicate) });
  }
}

/** Inode of the socket's network namespace. */
function netnsOf(socketFd: number): bigint {
  const namespace = socketNetns(socketFd);
  try {
    return fstatSync(namespace, { bigint: true }).ino;
  } finally {
    closeSync(namespace);
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
