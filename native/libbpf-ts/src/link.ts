import { closeSync, openSync, read, readSync } from 'node:fs';
import { errnoError } from './errors.ts';
import { addressOf, libbpf } from './ffi.ts';
import { type LinkInfo, linkInfo } from './info.ts';
import { infoOrClose, KernelObject, nodeErrno, openPin } from './kernel_object.ts';
import type { KernelMap } from './map.ts';
import { attachNumber, idError, type Program } from './program.ts';
import { type AttachType, LITTLE_ENDIAN } from './uapi.ts';

/** A directory or file that names the thing to attach to: a path to open, or a descriptor. */
type Place = string | number;

/**
 * A program attached. Closing an unpinned link detaches the program; a pinned one stays attached when the process
 * ends. Cgroup links need kernel 5.7, netns links 5.8 (sk_lookup 5.9), iterators 5.8.
 */
export class Link extends KernelObject {
  readonly id: number;

  /** @param fd owned by the link from here on */
  constructor(fd: number, options: { name?: string; pinPath?: string } = {}) {
    const info = infoOrClose(fd, linkInfo);
    super(fd, `link ${options.name ?? options.pinPath ?? info.id}`, options.pinPath);
    this.id = info.id;
  }

  /**
   * Attaches beside whatever else is attached to the cgroup. Sockets of its descendants are covered too.
   * @param options `cgroup`: a cgroup v2 directory or a descriptor of one
   * @throws BpfError EBADF or EINVAL when it is not a cgroup v2 directory or the program does not fit
   */
  static attachCgroup(program: Program, options: { cgroup: Place; attachType?: AttachType }): Link {
    return attachAt(program, options.cgroup, attachNumber(program, options.attachType));
  }

  /**
   * Attaches an sk_lookup or flow_dissector program to a network namespace.
   * @param options `netns`: '/proc/<pid>/ns/net', a bind mount of one, or a descriptor
   */
  static attachNetns(program: Program, options: { netns: Place; attachType?: AttachType }): Link {
    return attachAt(program, options.netns, attachNumber(program, options.attachType));
  }

  /** Attaches an iterator, to be run with {@link readIter}. @param options `map`: what it walks, for map iterators */
  static attachIter(program: Program, options: { map?: KernelMap } = {}): Link {
    const type = attachNumber(program, 'trace_iter');
    if (options.map === undefined) return create(program, 0, type, null);
    const target = new Uint8Array(16); // union bpf_iter_link_info; .map.map_fd comes first
    new DataView(target.buffer).setUint32(0, options.map.fd, LITTLE_ENDIAN);
    const opts = new DataView(new ArrayBuffer(64)); // struct bpf_link_create_opts
    opts.setBigUint64(0, 64n, LITTLE_ENDIAN);
    opts.setBigUint64(16, addressOf(target), LITTLE_ENDIAN);
    opts.setUint32(24, target.length, LITTLE_ENDIAN);
    return create(program, 0, type, opts);
  }

  static fromPin(path: string): Link {
    return new Link(openPin(path, 'link'), { pinPath: path });
  }

  static fromId(id: number): Link {
    const fd = libbpf.bpf_link_get_fd_by_id(id);
    if (fd < 0) throw idError(fd, `link ${id}`);
    return new Link(fd);
  }

  info(): LinkInfo {
    return linkInfo(this.fd);
  }

  /** Replaces the program in one step: no event is missed and none sees both. */
  update(program: Program): void {
    const result = libbpf.bpf_link_update(this.fd, program.fd, null);
    if (result < 0) throw errnoError(result, 'update link', this.target, { detail: `to ${program.target}` });
  }

  /** Detaches even while pinned or held by others (kernel 5.9). The pin remains, of a dead link. */
  detach(): void {
    const result = libbpf.bpf_link_detach(this.fd);
    if (result < 0) throw errnoError(result, 'detach', this.target);
  }

  /** Runs the iterator once. @returns what it wrote with bpf_seq_write and bpf_seq_printf */
  async readIter(): Promise<string> {
    const fd = this.#iterFd();
    try {
      const chunks: Buffer[] = [];
      for (;;) {
        const chunk = await readOnce(fd);
        if (chunk === undefined) continue;
        if (chunk.length === 0) return Buffer.concat(chunks).toString('utf8');
        chunks.push(chunk);
      }
    } finally {
      closeSync(fd);
    }
  }

  /** {@link readIter} on the calling thread, for walks known to be short. */
  readIterSync(): string {
    const fd = this.#iterFd();
    try {
      const chunks: Buffer[] = [];
      for (;;) {
        const buffer = Buffer.allocUnsafe(ITER_READ_BYTES);
        const length = retryable(() => readSync(fd, buffer));
        if (length === 0) return Buffer.concat(chunks).toString('utf8');
        if (length !== undefined) chunks.push(buffer.subarray(0, length));
      }
    } finally {
      closeSync(fd);
    }
  }

  #iterFd(): number {
    const fd = libbpf.bpf_iter_create(this.fd);
    if (fd < 0) throw errnoError(fd, 'create iterator of', this.target);
    return fd;
  }
}

const ITER_READ_BYTES = 64 << 10;

/** A read of an iterator fails with EAGAIN after a million objects without output: it is to be continued. */
function isRetry(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EINTR');
}

function retryable(call: () => number): number | undefined {
  try {
    return call();
  } catch (error) {
    if (isRetry(error)) return undefined;
    throw error;
  }
}

function readOnce(fd: number): Promise<Buffer | undefined> {
  const buffer = Buffer.allocUnsafe(ITER_READ_BYTES);
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, null, (error, length) => {
      if (error === null) resolve(buffer.subarray(0, length));
      else if (isRetry(error)) resolve(undefined);
      else reject(error);
    });
  });
}

function attachAt(program: Program, place: Place, type: number): Link {
  if (typeof place === 'number') return create(program, place, type, null);
  let fd: number;
  try {
    fd = openSync(place, 'r');
  } catch (cause) {
    throw errnoError(nodeErrno(cause), 'attach', program.target, { detail: `cannot open ${place}`, cause });
  }
  try {
    return create(program, fd, type, null, place);
  } finally {
    closeSync(fd);
  }
}

function create(program: Program, target: number, type: number, opts: DataView | null, place?: string): Link {
  const fd = libbpf.bpf_link_create(program.fd, target, type, opts);
  if (fd < 0) {
    throw errnoError(fd, 'attach', program.target, place === undefined ? {} : { detail: `to ${place}` });
  }
  return new Link(fd, { name: program.name });
}

/**
 * Attaches an sk_msg or sk_skb program to a sockmap or sockhash. There is one program a map and hook; it goes when
 * the map goes. Links for sockmaps exist only since 6.11, so this is a plain attachment.
 */
export function attachSockmapProgram(program: Program, map: KernelMap, attachType?: AttachType): void {
  const result = libbpf.bpf_prog_attach(program.fd, map.fd, attachNumber(program, attachType), 0);
  if (result < 0) throw errnoError(result, 'attach', program.target, { detail: `to ${map.target}` });
}

/** Undoes {@link attachSockmapProgram}. @throws BpfError ENOENT when another program is attached */
export function detachSockmapProgram(program: Program, map: KernelMap, attachType?: AttachType): void {
  const result = libbpf.bpf_prog_detach2(program.fd, map.fd, attachNumber(program, attachType));
  if (result < 0) throw errnoError(result, 'detach', program.target, { detail: `from ${map.target}` });
}
