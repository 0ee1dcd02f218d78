/** TCP sockets as the canary needs them: bare system calls, none of which blocks. */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { enterNetns, LITTLE_ENDIAN, openSocket, socketCookie } from '../../pod/syscall.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const CLONE_NEWNET = 0x40000000;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const SHUT_WR = 1;
const MSG_NOSIGNAL = 0x4000;
const FIONREAD = 0x541b;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
const SPLICE_F_NONBLOCK = 2;
const EPOLL_CTL_ADD = 1;
const EPOLLET = 2 ** 31;
export const POLLIN = 1;
export const POLLOUT = 4;
/** Loopback delivers before send() returns, unless the machine is busy with something else. */
const PATIENCE_MS = 1000;

type Call = (...args: unknown[]) => number;

let bound: Record<string, Call> | undefined;

function libc(): Record<string, Call> {
  if (bound !== undefined) return bound;
  const self = koffi.load(null);
  const signatures = {
    unshare: 'int unshare(int flags)',
    bind: 'int bind(int fd, const void *address, uint32_t size)',
    listen: 'int listen(int fd, int backlog)',
    getsockname: 'int getsockname(int fd, void *address, void *size)',
    connect: 'int connect(int fd, const void *address, uint32_t size)',
    accept4: 'int accept4(int fd, void *address, void *size, int flags)',
    setsockopt: 'int setsockopt(int fd, int level, int option, const void *value, uint32_t size)',
    send: 'long send(int fd, const void *data, size_t size, int flags)',
    recv: 'long recv(int fd, void *data, size_t size, int flags)',
    shutdown: 'int shutdown(int fd, int how)',
    poll: 'int poll(void *fds, unsigned long count, int timeout)',
    ioctl: 'int ioctl(int fd, unsigned long request, ...)',
    pipe2: 'int pipe2(void *ends, int flags)',
    splice: 'long splice(int from, void *a, int to, void *b, size_t size, unsigned int flags)',
    epoll_create1: 'int epoll_create1(int flags)',
    epoll_ctl: 'int epoll_ctl(int epoll, int operation, int fd, void *event)',
    epoll_wait: 'int epoll_wait(int epoll, void *events, int most, int timeout)',
  };
  bound = Object.fromEntries(
    Object.entries(signatures).map(([name, signature]) => [name, self.func(signature) as Call]),
  );
  return bound;
}

/** Result of a call that may fail for good reason: a count, or the errno's name. */
function attempt(name: string, ...args: unknown[]): number | string {
  const result = Number(libc()[name]?.(...args));
  if (result !== -1) return result;
  const errno = koffi.errno();
  // libuv's table (getSystemErrorName) has no EINPROGRESS.
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** @throws Error with the errno's name */
function must(name: string, ...args: unknown[]): number {
  const result = attempt(name, ...args);
  if (typeof result === 'string') throw new Error(`${name}: ${result}`);
  return result;
}

/**
 * Runs `make` in a network namespace of its own, with loopback up; the calling thread is back where it was when this
 * returns. Sockets made there keep the namespace until they are closed.
 *
 * @throws Error EPERM without CAP_SYS_ADMIN
 */
export function inScratchNetns<T>(make: () => T): T {
  const here = openSync('/proc/thread-self/ns/net', 'r');
  try {
    must('unshare', CLONE_NEWNET);
    try {
      const fd = openSocket(AF_INET, SOCK_STREAM, 0);
      const ifreq = new Uint8Array(40);
      ifreq.set(Buffer.from('lo'));
      new DataView(ifreq.buffer).setInt16(16, IFF_UP, LITTLE_ENDIAN);
      try {
        must('ioctl', fd, SIOCSIFFLAGS, 'void *', ifreq);
      } finally {
        closeSync(fd);
      }
      return make();
    } finally {
      enterNetns(here);
    }
  } finally {
    closeSync(here);
  }
}

/** One end of a TCP connection over loopback, non-blocking. */
export class CanarySocket implements Disposable {
  readonly fd: number;
  readonly cookie: bigint;
  #open = true;

  private constructor(fd: number) {
    this.fd = fd;
    this.cookie = socketCookie(fd);
    must('setsockopt', fd, IPPROTO_TCP, TCP_NODELAY, int32(1), 4);
  }

  /** Connections in the calling thread's network namespace. */
  static pairs(count: number): [CanarySocket, CanarySocket][] {
    const listener = openSocket(AF_INET, SOCK_STREAM, 0);
    try {
      const address = new Uint8Array(16);
      new DataView(address.buffer).setUint16(0, AF_INET, LITTLE_ENDIAN);
      address.set([127, 0, 0, 1], 4);
      must('bind', listener, address, 16);
      must('listen', listener, count);
      must('getsockname', listener, address, int32(16));
      return Array.from({ length: count }, () => {
        const fd = openSocket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        const connecting = attempt('connect', fd, address, 16);
        if (typeof connecting === 'string' && connecting !== 'EINPROGRESS')
          throw new Error(`connect: ${connecting}`);
        const accepted = must('accept4', listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
        return [new CanarySocket(fd), new CanarySocket(accepted)];
      });
    } finally {
      closeSync(listener);
    }
  }

  /** How many bytes went, or the errno's name. */
  send(data: Uint8Array): number | string {
    return attempt('send', this.fd, data, data.length, MSG_NOSIGNAL);
  }

  /** Bytes that are there or come at once, an empty buffer at the end of the stream, or the errno's name. */
  recv(most = 65_536): Buffer | string {
    this.poll(POLLIN, PATIENCE_MS);
    const buffer = Buffer.alloc(most);
    const got = attempt('recv', this.fd, buffer, most, 0);
    return typeof got === 'string' ? got : buffer.subarray(0, got);
  }

  /** Events that hold, of those asked for. */
  poll(events: number, timeoutMs = 0): number {
    const fds = new DataView(new ArrayBuffer(8));
    fds.setInt32(0, this.fd, LITTLE_ENDIAN);
    fds.setInt16(4, events, LITTLE_ENDIAN);
    must('poll', new Uint8Array(fds.buffer), 1, timeoutMs);
    return fds.getInt16(6, LITTLE_ENDIAN) & events;
  }

  /** FIONREAD. */
  unread(): number {
    const value = int32(0);
    must('ioctl', this.fd, FIONREAD, 'void *', value);
    return new DataView(value.buffer).getInt32(0, LITTLE_ENDIAN);
  }

  /** True when `act` makes an edge-triggered epoll tell of this socket. */
  wokenBy(act: () => void): boolean {
    const epoll = must('epoll_create1', 0);
    try {
      // struct epoll_event is packed on x86-64 alone; the data is not looked at.
      const event = new DataView(new ArrayBuffer(16));
      event.setUint32(0, EPOLLET + POLLIN, LITTLE_ENDIAN);
      const bytes = new Uint8Array(event.buffer);
      must('epoll_ctl', epoll, EPOLL_CTL_ADD, this.fd, bytes);
      must('epoll_wait', epoll, bytes, 1, 0);
      act();
      return must('epoll_wait', epoll, bytes, 1, PATIENCE_MS) === 1;
    } finally {
      closeSync(epoll);
    }
  }

  /** Moves bytes into a pipe, as a proxy does that never looks at them: how many, or the errno's name. */
  splice(most: number): number | string {
    const ends = new Int32Array(2);
    must('pipe2', ends, SOCK_CLOEXEC);
    try {
      return attempt('splice', this.fd, null, ends[1], null, most, SPLICE_F_NONBLOCK);
    } finally {
      for (const fd of ends) closeSync(fd);
    }
  }

  endSending(): void {
    must('shutdown', this.fd, SHUT_WR);
  }

  /** Closes with a RST. */
  reset(): void {
    must('setsockopt', this.fd, SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer), 8);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#open) closeSync(this.fd);
    this.#open = false;
  }
}

function int32(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new Int32Array([value]).buffer);
}
