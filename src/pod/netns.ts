/**
 * Network namespaces of pods. setns() moves one thread; here it is always the calling one, within one synchronous
 * block, so that no other JavaScript ever runs while the thread is elsewhere.
 */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { ShuntError } from '../errors.ts';
import { interfaceAddresses } from './interface_address.ts';
import { NETLINK_ROUTE, openNetlink } from './netlink.ts';
import { enterNetns, isNetnsFile, netnsCookie, systemErrorCode, unshareNetns } from './syscall.ts';
import type { NetnsRef } from './workload.ts';

/** Finds a namespace's cookie where the kernel has no SO_NETNS_COOKIE (before Linux 5.14). */
export type FindCookie = (path: string) => bigint;
let findCookie: FindCookie | null = null;

/** Has cookies found in another way while the result lives: the pod's key in the kernel is the data plane's to ask for. */
export function findCookiesBy(find: FindCookie): Disposable {
  const before = findCookie;
  findCookie = find;
  return {
    [Symbol.dispose]() {
      findCookie = before;
    },
  };
}

/** Whether the kernel tells namespaces' cookies of its own (since Linux 5.14). */
export function hasCookies(): boolean {
  using socket = descriptor(openNetlink(NETLINK_ROUTE));
  return cookieOf(socket.fd, OWN_NETNS) !== null;
}

const OWN_NETNS = '/proc/thread-self/ns/net';
/** Namespaces that hold no pod: the init process's and our own. */
const HOST_NETNS = ['/proc/1/ns/net', '/proc/self/ns/net'];

/**
 * What a path of a pod's network namespace leads to.
 *
 * @param path absolute: /run/netns/NAME or /proc/PID/ns/net
 * @throws SHUNT_E_NETNS_MISSING, SHUNT_E_NETNS_NOT_NETNS, SHUNT_E_NETNS_HOST, SHUNT_E_NETNS_COOKIE, SHUNT_E_NOT_ROOT
 */
export function resolveNetns(path: string): NetnsRef {
  using namespace = openNetns(path);
  if (isHostNetns(namespace.stat)) throw new ShuntError('SHUNT_E_NETNS_HOST', undefined, { target: path });
  using socket = descriptor(runInside(namespace.fd, path, () => openNetlink(NETLINK_ROUTE)));
  return {
    path,
    inode: namespace.stat.ino,
    cookie: cookieOf(socket.fd, path) ?? findCookie?.(path) ?? namespace.stat.ino,
    addresses: interfaceAddresses(socket.fd),
  };
}

/**
 * Runs synchronous work with the calling thread inside the namespace: sockets it opens and /proc/thread-self/net belong
 * to it. The work must start nothing asynchronous, since a thread of the pool born meanwhile would stay inside; open
 * what is needed and use it after coming back. A namespace that the thread cannot leave again ends the process.
 *
 * @throws as resolveNetns, and whatever `work` throws
 */
export function inNetns<T>(path: string, work: () => T extends PromiseLike<unknown> ? never : T): T {
  using namespace = openNetns(path);
  return runInside(namespace.fd, path, work);
}

/** A namespace that nobody else knows; it ends when the descriptor is closed. */
export function newNetns(): Disposable & { fd: number } {
  using home = descriptor(openSync(OWN_NETNS, constants.O_RDONLY));
  unshareNetns();
  try {
    return descriptor(openSync(OWN_NETNS, constants.O_RDONLY));
  } finally {
    goHome(home.fd, 'a new one');
  }
}

/** Inode of the namespace at a path, or null when it cannot be read: a cheap test of whether it is still the same. */
export function netnsInode(path: string): bigint | null {
  try {
    return statSync(path, { bigint: true }).ino;
  } catch {
    return null;
  }
}

function runInside<T>(namespaceFd: number, path: string, work: () => T): T {
  using home = descriptor(openSync(OWN_NETNS, constants.O_RDONLY));
  try {
    enterNetns(namespaceFd);
  } catch (cause) {
    throw accessError(cause, path);
  }
  try {
    return work();
  } finally {
    goHome(home.fd, path);
  }
}

function goHome(homeFd: number, path: string): void {
  try {
    enterNetns(homeFd);
  } catch (error) {
    // Everything this thread did from here on would happen in the pod's network. Pins keep enforcing without us.
    writeSync(2, `shunt: cannot leave network namespace ${path}: ${String(error)}; stopping\n`);
    process.abort();
  }
}

interface OpenNetns extends Disposable {
  fd: number;
  stat: BigIntStats;
}

function openNetns(path: string): OpenNetns {
  if (!isAbsolute(path)) {
    throw new ShuntError('SHUNT_E_NETNS_MISSING', 'not an absolute path', { target: path });
  }
  let fd: number;
  try {
    // Non-blocking, so that a FIFO put there by mistake cannot stop the agent.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw accessError(cause, path);
  }
  const open = descriptor(fd);
  if (isNetnsFile(fd)) return { ...open, stat: fstatSync(fd, { bigint: true }) };
  open[Symbol.dispose]();
  throw new ShuntError('SHUNT_E_NETNS_NOT_NETNS', undefined, { target: path });
}

function accessError(cause: unknown, path: string): ShuntError {
  switch (systemErrorCode(cause)) {
    case 'EACCES':
    case 'EPERM':
      return new ShuntError('SHUNT_E_NOT_ROOT', 'entering a network namespace is not permitted', {
        target: path,
        cause,
      });
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ESRCH':
      return new ShuntError('SHUNT_E_NETNS_MISSING', undefined, { target: path, cause });
    default:
      return new ShuntError('SHUNT_E_NETNS_NOT_NETNS', `cannot be opened: ${String(cause)}`, {
        target: path,
        cause,
      });
  }
}

function isHostNetns(stat: BigIntStats): boolean {
  return HOST_NETNS.some((path) => {
    try {
      const host = statSync(path, { bigint: true });
      return host.ino === stat.ino && host.dev === stat.dev;
    } catch {
      // /proc/1 can be closed to us (hidepid, a stricter init); our own is always there.
      return false;
    }
  });
}

/** Null before Linux 5.14, which has no SO_NETNS_COOKIE. */
function cookieOf(socketFd: number, path: string): bigint | null {
  try {
    return netnsCookie(socketFd);
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOPROTOOPT') return null;
    throw new ShuntError('SHUNT_E_NETNS_COOKIE', undefined, { target: path, cause });
  }
}

function descriptor(fd: number): Disposable & { fd: number } {
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}
