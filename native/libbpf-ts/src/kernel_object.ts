import { closeSync, existsSync, mkdirSync, readlinkSync, statfsSync, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { BpfError, errnoError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { BPFFS_MAGIC } from './uapi.ts';

/** A descriptor of something in the kernel: a map, a program or a link. Closing is idempotent. */
export abstract class KernelObject implements Disposable {
  /** What error messages call it: 'map pods'. */
  readonly target: string;
  #fd: number;
  #pinPath: string | undefined;

  constructor(fd: number, target: string, pinPath?: string) {
    this.#fd = fd;
    this.target = target;
    this.#pinPath = pinPath;
  }

  /** @throws BpfError CLOSED after {@link close}: the number may belong to another file by now */
  get fd(): number {
    if (this.#fd < 0) {
      throw new BpfError({
        code: 'CLOSED',
        op: 'use',
        target: this.target,
        detail: 'it was closed',
        hint: 'keep the loaded object (or the map, program or link) open for as long as it is used',
      });
    }
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Where it was pinned or opened from through this object. */
  get pinPath(): string | undefined {
    return this.#pinPath;
  }

  /**
   * Keeps it alive beyond this process. Missing directories are made, for root alone (0700).
   * @param path below a bpffs mount
   * @throws BpfError EEXIST when something is pinned there, EPERM when it is not on bpffs
   */
  pin(path: string): void {
    makePinDirectory(path, this.target);
    const result = libbpf.bpf_obj_pin(this.fd, path);
    if (result < 0) throw errnoError(result, 'pin', this.target, { detail: path });
    this.#pinPath = path;
  }

  /** Removes the pin made or opened through this object. The object itself stays open. */
  unpin(): void {
    if (this.#pinPath === undefined) {
      throw new BpfError({ code: 'ENOENT', op: 'unpin', target: this.target, detail: 'it is not pinned' });
    }
    unlinkSync(this.#pinPath);
    this.#pinPath = undefined;
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Makes what is missing above a pin, but only on bpffs: elsewhere it would be litter, for the pin fails. */
function makePinDirectory(path: string, target: string): void {
  let existing = dirname(path);
  while (!existsSync(existing) && existing !== dirname(existing)) existing = dirname(existing);
  if (existing === dirname(path) || !onBpffs(existing)) return;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw errnoError(nodeErrno(cause), 'pin', target, { detail: `cannot make ${dirname(path)}`, cause });
  }
}

/** The errno of a failed call of node:fs; EIO where it has none. */
export function nodeErrno(error: unknown): number {
  return error instanceof Error && 'errno' in error ? Number(error.errno) : constants.errno.EIO;
}

/** Whether a path lies on a bpffs mount. False when it does not exist. */
export function onBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === BPFFS_MAGIC;
  } catch {
    return false; // any reason not to stat it is a reason not to find pins there
  }
}

/** What /proc calls the descriptor of each kind; a link is bpf_link where it was made and bpf-link from its pin. */
const KINDS = { map: 'bpf-map', program: 'bpf-prog', link: 'bpf-link' } as const;

/**
 * Opens a pin.
 * @throws BpfError ENOENT when nothing is there, BAD_VALUE when something of another kind is
 */
export function openPin(path: string, kind: keyof typeof KINDS): number {
  const fd = libbpf.bpf_obj_get(path);
  if (fd < 0) throw errnoError(fd, 'open pin of', kind, { detail: path });
  // Asking a program for a map's info succeeds, and fills in the wrong struct.
  const found = readlinkSync(`/proc/self/fd/${fd}`)
    .replace(/^anon_inode:\[?|\]$/g, '')
    .replace('_', '-');
  if (found === KINDS[kind]) return fd;
  closeSync(fd);
  throw new BpfError({
    code: 'BAD_VALUE',
    op: 'open pin of',
    target: kind,
    detail: `${path} pins a ${found.replace(/^bpf-/, '')}`,
  });
}

/** Reads the info of a descriptor that is being adopted, and closes it when that fails. */
export function infoOrClose<T>(fd: number, infoOf: (fd: number) => T): T {
  try {
    return infoOf(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
