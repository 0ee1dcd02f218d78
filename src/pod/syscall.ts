/**
 * The few system calls that Node does not offer. Each throws an Error with `code` (`EPERM`), `errno` and `syscall`,
 * as node:fs does.
 */
import { endianness } from 'node:os';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const CLONE_NEWNET = 0x40000000;
/** _IO(0xb7, 3), Linux 4.11: the CLONE_NEW* flag of a namespace file. */
const NS_GET_NSTYPE = 0xb703;
const SOL_SOCKET = 1;
/** Linux 5.14. */
const SO_NETNS_COOKIE = 71;
/** Linux 4.12. */
const SO_COOKIE = 57;
/** Linux 4.10: the network namespace of a socket. */
const SIOCGSKNS = 0x894c;
const SO_PEERCRED = 17;
const SOCK_CLOEXEC = 0o2000000;
/** The same numbers on every architecture whose calls were added after the table was unified (Linux 5.0). */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const SYS_RENAMEAT2 = { x64: 316, arm64: 276 };
const RENAME_EXCHANGE = 2;
const AT_FDCWD = -100;

export const LITTLE_ENDIAN = endianness() === 'LE';

interface Calls {
  socket(domain: number, type: number, protocol: number): number;
  setns(fd: number, type: number): number;
  unshare(flags: number): number;
  getsockopt(fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array): number;
  ioctl(fd: number, request: number): number;
  syscall(number: number, ...typesAndValues: (string | number)[]): number;
}

let bound: Calls | undefined;

/** Bound at first use: a command that asks nothing of the kernel does not pay for it. */
function calls(): Calls {
  if (bound !== undefined) return bound;
  // The process's own libc, whichever it is.
  const libc = koffi.load(null);
  bound = {
    socket: libc.func('int socket(int domain, int type, int protocol)'),
    setns: libc.func('int setns(int fd, int type)'),
    unshare: libc.func('int unshare(int flags)'),
    getsockopt: libc.func('int getsockopt(int fd, int level, int option, void *value, void *length)'),
    ioctl: libc.func('int ioctl(int fd, unsigned long request, ...)'),
    syscall: libc.func('long syscall(long number, ...)'),
  };
  return bound;
}

function check(result: number, syscall: string): number {
  if (result !== -1) return result;
  const errno = koffi.errno();
  const code = getSystemErrorName(-errno);
  throw Object.assign(new Error(`${code}, ${syscall}`), { code, errno: -errno, syscall });
}

/** Opens a socket of the calling thread's network namespace, close-on-exec. */
export function openSocket(domain: number, type: number, protocol: number): number {
  return check(calls().socket(domain, type | SOCK_CLOEXEC, protocol), 'socket');
}

/** Moves the calling thread, and only it, into the network namespace open at `fd`. */
export function enterNetns(fd: number): void {
  check(calls().setns(fd, CLONE_NEWNET), 'setns');
}

/** Moves the calling thread, and only it, into a new network namespace. */
export function unshareNetns(): void {
  check(calls().unshare(CLONE_NEWNET), 'unshare');
}

/** True when `fd` is an open network namespace; false for any other file. */
export function isNetnsFile(fd: number): boolean {
  return calls().ioctl(fd, NS_GET_NSTYPE) === CLONE_NEWNET;
}

/** A descriptor, close-on-exec, of the network namespace that a socket belongs to. Needs CAP_NET_ADMIN there. */
export function socketNetns(socketFd: number): number {
  return check(calls().ioctl(socketFd, SIOCGSKNS), 'ioctl');
}

/** SO_NETNS_COOKIE of a socket: its network namespace, unique on this boot. Throws ENOPROTOOPT before Linux 5.14. */
export function netnsCookie(socketFd: number): bigint {
  return cookieOption(socketFd, SO_NETNS_COOKIE);
}

/** SO_COOKIE: the socket itself, unique on this boot; what a sockhash gives for its values. */
export function socketCookie(socketFd: number): bigint {
  return cookieOption(socketFd, SO_COOKIE);
}

function cookieOption(socketFd: number, option: number): bigint {
  const value = new Uint8Array(8);
  check(calls().getsockopt(socketFd, SOL_SOCKET, option, value, Uint32Array.of(8)), 'getsockopt');
  return new DataView(value.buffer).getBigUint64(0, LITTLE_ENDIAN);
}

/** Uid, in our user namespace, of whoever is at the other end of a unix stream socket. */
export function peerUid(socketFd: number): number {
  // struct ucred: pid, uid, gid
  const credentials = new Uint8Array(12);
  check(calls().getsockopt(socketFd, SOL_SOCKET, SO_PEERCRED, credentials, Uint32Array.of(12)), 'getsockopt');
  return new DataView(credentials.buffer).getUint32(4, LITTLE_ENDIAN);
}

/** A pidfd of the process (Linux 5.3). */
export function pidfdOpen(pid: number): number {
  return check(calls().syscall(SYS_PIDFD_OPEN, 'long', pid, 'long', 0), 'pidfd_open');
}

/** Our own duplicate, close-on-exec, of descriptor `fd` of the process (Linux 5.6; needs the right to ptrace it). */
export function pidfdGetfd(pidfd: number, fd: number): number {
  return check(calls().syscall(SYS_PIDFD_GETFD, 'long', pidfd, 'long', fd, 'long', 0), 'pidfd_getfd');
}

/** Exchanges two files of one file system in one step (Linux 3.15). */
export function exchangeFiles(a: string, b: string): void {
  const number = SYS_RENAMEAT2[process.arch === 'arm64' ? 'arm64' : 'x64'];
  const paths = ['int', AT_FDCWD, 'str', a, 'int', AT_FDCWD, 'str', b];
  check(calls().syscall(number, ...paths, 'uint', RENAME_EXCHANGE), 'renameat2');
}

/** The `code` of an error thrown by the operating system, for a catch clause that tells cases apart. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
