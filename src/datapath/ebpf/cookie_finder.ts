/**
 * Cookies of network namespaces on kernels that do not tell them to user space (before Linux 5.14) and tell them to
 * programs (since 5.7): a process in a cgroup of its own opens a socket in the namespace, and a program there writes down
 * what it sees. The cgroup is gone again when the answer is given.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type BpfMap, Link, type Program } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { cgroup2Mounts } from '../../pod/cgroup.ts';
import { findCookiesBy } from '../../pod/netns.ts';
import type { CookieObject } from './objects.ts';

/** Opens one IPv4 socket, in the cgroup of the first argument. */
const PROBE = `
require('node:fs').writeFileSync(process.argv[1] + '/cgroup.procs', '0');
const socket = require('node:dgram').createSocket('udp4');
socket.bind(0, () => socket.close());`;
const PROBE_MS = 30_000;
/** Namespaces that are remembered: many times a node's pods. */
const REMEMBERED = 4096;

export class CookieFinder implements Disposable {
  readonly #object: CookieObject;
  readonly #known = new Map<bigint, { madeNs: bigint; cookie: bigint }>();
  readonly #registered: Disposable;

  /** @param object owned by the finder from here on */
  constructor(object: CookieObject) {
    this.#object = object;
    this.#registered = findCookiesBy((path) => this.find(path));
  }

  /**
   * The namespace's cookie, as SO_NETNS_COOKIE gives it since Linux 5.14.
   *
   * @param path opens the namespace
   * @throws SHUNT_E_NETNS_COOKIE with the reason
   */
  find(path: string): bigint {
    // A namespace's number is given to another once it is gone; the time at which it came to be named is not.
    const { ino, mtimeNs } = statSync(path, { bigint: true });
    const known = this.#known.get(ino);
    if (known?.madeNs === mtimeNs) return known.cookie;
    try {
      const cookie = seenCookie(this.#object.programs.shunt_see_cookie, this.#object.maps.shunt_cookie, path);
      if (this.#known.size >= REMEMBERED) this.#known.clear();
      this.#known.set(ino, { madeNs: mtimeNs, cookie });
      return cookie;
    } catch (cause) {
      const detail = `it cannot be learnt: ${cause instanceof Error ? cause.message.split('\n')[0] : cause}`;
      throw new ShuntError('SHUNT_E_NETNS_COOKIE', detail, { target: path, cause });
    }
  }

  [Symbol.dispose](): void {
    this.#registered[Symbol.dispose]();
    this.#object[Symbol.dispose]();
  }
}

function seenCookie(program: Program, seen: BpfMap<number, bigint>, path: string): bigint {
  const cgroup = join(cgroup2Mounts()[0], `shunt-cookie-${process.pid}`);
  using stack = new DisposableStack();
  mkdirSync(cgroup, { recursive: true });
  stack.defer(() => rmdirSync(cgroup));
  const link = Link.attachCgroup(program, { cgroup });
  stack.defer(() => link.close());
  seen.set(0, 0n);
  execFileSync('nsenter', [`--net=${path}`, '--', process.execPath, '-e', PROBE, cgroup], {
    env: {},
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: PROBE_MS,
  });
  const cookie = seen.get(0) ?? 0n;
  if (cookie === 0n) throw new Error('the program saw no socket');
  return cookie;
}
