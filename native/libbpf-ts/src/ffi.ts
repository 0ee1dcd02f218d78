import { createRequire } from 'node:module';
import type koffiTypes from 'koffi';
import { BpfError } from './errors.ts';

/*
 * The only file that knows koffi, so that another FFI is one file's work. Functions are bound at first use:
 * a libbpf that lacks one of them serves everything else.
 */

/** Memory handed to C: a typed array whose bytes are used in place, an address, or null. */
export type Memory = NodeJS.ArrayBufferView | ArrayBuffer | bigint | null;

type CType = 'void' | 'int' | 'bool' | 'uint32_t' | 'size_t' | 'int64_t' | 'str' | 'void *';

interface Signature {
  result: CType;
  args: readonly CType[];
  /** First libbpf release with the function; 1.1 for everything older than the floor. */
  since: readonly [number, number];
}

type Argument<T> = T extends 'int' | 'uint32_t'
  ? number
  : T extends 'bool'
    ? boolean
    : T extends 'size_t' | 'int64_t'
      ? number | bigint
      : T extends 'str'
        ? string
        : Memory;
type Result<T> = T extends 'void'
  ? undefined
  : T extends 'bool'
    ? boolean
    : T extends 'str'
      ? string | null
      : T extends 'void *'
        ? bigint | null
        : number;
type Arguments<A extends readonly CType[]> = { -readonly [I in keyof A]: Argument<A[I]> };
type Bound<S extends Signature> = {
  (...args: Arguments<S['args']>): Result<S['result']>;
  /** The same call on a thread of libuv's pool. Pass addresses and strings only: nothing keeps a buffer alive meanwhile. */
  later(...args: Arguments<S['args']>): Promise<Result<S['result']>>;
};
type Bindings<T extends Record<string, Signature>> = { readonly [N in keyof T]: Bound<T[N]> };

const f = <const R extends CType, const A extends readonly CType[]>(
  result: R,
  args: A,
  since: readonly [number, number] = [1, 1],
): { result: R; args: A; since: readonly [number, number] } => ({ result, args, since });

const LIBBPF = {
  libbpf_major_version: f('uint32_t', []),
  libbpf_minor_version: f('uint32_t', []),
  libbpf_version_string: f('str', []),
  libbpf_set_print: f('void *', ['void *']),
  libbpf_find_vmlinux_btf_id: f('int', ['str', 'int']),
  libbpf_num_possible_cpus: f('int', []),

  bpf_object__open_mem: f('void *', ['void *', 'size_t', 'void *']),
  bpf_object__load: f('int', ['void *']),
  bpf_object__close: f('void', ['void *']),
  bpf_object__btf: f('void *', ['void *']),
  bpf_object__find_map_by_name: f('void *', ['void *', 'str']),
  bpf_object__next_map: f('void *', ['void *', 'void *']),
  bpf_object__next_program: f('void *', ['void *', 'void *']),
  btf__raw_data: f('void *', ['void *', 'void *']),

  bpf_program__name: f('str', ['void *']),
  bpf_program__section_name: f('str', ['void *']),
  bpf_program__type: f('int', ['void *']),
  bpf_program__expected_attach_type: f('int', ['void *']),
  bpf_program__autoload: f('bool', ['void *']),
  bpf_program__set_autoload: f('int', ['void *', 'bool']),
  bpf_program__set_log_buf: f('int', ['void *', 'void *', 'size_t']),
  bpf_program__fd: f('int', ['void *']),

  bpf_map__name: f('str', ['void *']),
  bpf_map__type: f('int', ['void *']),
  bpf_map__key_size: f('uint32_t', ['void *']),
  bpf_map__value_size: f('uint32_t', ['void *']),
  bpf_map__map_flags: f('uint32_t', ['void *']),
  bpf_map__max_entries: f('uint32_t', ['void *']),
  bpf_map__set_max_entries: f('int', ['void *', 'uint32_t']),
  bpf_map__pin_path: f('str', ['void *']),
  bpf_map__set_pin_path: f('int', ['void *', 'str']),
  bpf_map__reuse_fd: f('int', ['void *', 'int']),
  bpf_map__is_internal: f('bool', ['void *']),
  bpf_map__initial_value: f('void *', ['void *', 'void *']),
  bpf_map__set_initial_value: f('int', ['void *', 'void *', 'size_t']),
  bpf_map__fd: f('int', ['void *']),

  bpf_map_create: f('int', ['int', 'str', 'uint32_t', 'uint32_t', 'uint32_t', 'void *']),
  bpf_map_lookup_elem: f('int', ['int', 'void *', 'void *']),
  bpf_map_lookup_and_delete_elem: f('int', ['int', 'void *', 'void *']),
  bpf_map_update_elem: f('int', ['int', 'void *', 'void *', 'int64_t']),
  bpf_map_delete_elem: f('int', ['int', 'void *']),
  bpf_map_freeze: f('int', ['int']),
  bpf_map_get_next_key: f('int', ['int', 'void *', 'void *']),
  bpf_map_lookup_batch: f('int', ['int', 'void *', 'void *', 'void *', 'void *', 'void *', 'void *']),
  bpf_map_update_batch: f('int', ['int', 'void *', 'void *', 'void *', 'void *']),
  bpf_map_delete_batch: f('int', ['int', 'void *', 'void *', 'void *']),

  bpf_prog_load: f('int', ['int', 'str', 'str', 'void *', 'size_t', 'void *']),
  bpf_prog_test_run_opts: f('int', ['int', 'void *']),
  bpf_prog_attach: f('int', ['int', 'int', 'int', 'uint32_t']),
  bpf_prog_detach2: f('int', ['int', 'int', 'int']),
  bpf_prog_query: f('int', ['int', 'int', 'uint32_t', 'void *', 'void *', 'void *']),
  bpf_link_create: f('int', ['int', 'int', 'int', 'void *']),
  bpf_link_update: f('int', ['int', 'int', 'void *']),
  bpf_link_detach: f('int', ['int']),
  bpf_iter_create: f('int', ['int']),
  bpf_obj_pin: f('int', ['int', 'str']),
  bpf_obj_get: f('int', ['str']),
  bpf_obj_get_info_by_fd: f('int', ['int', 'void *', 'void *']),
  bpf_map_get_next_id: f('int', ['uint32_t', 'void *']),
  bpf_prog_get_next_id: f('int', ['uint32_t', 'void *']),
  bpf_link_get_next_id: f('int', ['uint32_t', 'void *']),
  bpf_map_get_fd_by_id: f('int', ['uint32_t']),
  bpf_prog_get_fd_by_id: f('int', ['uint32_t']),
  bpf_link_get_fd_by_id: f('int', ['uint32_t']),
  bpf_btf_get_fd_by_id: f('int', ['uint32_t']),
  bpf_btf_load: f('int', ['void *', 'size_t', 'void *']),
} as const satisfies Record<string, Signature>;

const LIBC = {
  mmap: f('void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']),
  munmap: f('int', ['void *', 'size_t']),
  getpagesize: f('int', []),
  vsnprintf: f('int', ['void *', 'size_t', 'void *', 'void *']),
  // Variadic in C; an int in the variable part is passed as a named one on x86-64 and AAPCS64 Linux.
  fcntl: f('int', ['int', 'int', 'int']),
} as const satisfies Record<string, Signature>;

/** Oldest libbpf this package works with. */
export const MINIMUM_LIBBPF = { major: 1, minor: 1 } as const;

const require = createRequire(import.meta.url);
let koffiModule: typeof koffiTypes | undefined;
/** Loaded at first use: a command that needs no kernel should not pay 10 ms for the native module. */
function koffi(): typeof koffiTypes {
  koffiModule ??= require('koffi') as typeof koffiTypes;
  return koffiModule;
}

type Library = ReturnType<typeof koffiTypes.load>;

function bindings<const T extends Record<string, Signature>>(
  open: () => Library,
  signatures: T,
  missing: (name: string, signature: Signature, cause: unknown) => Error,
): Bindings<T> {
  const bound = {};
  for (const [name, signature] of Object.entries(signatures)) {
    Object.defineProperty(bound, name, {
      configurable: true,
      get() {
        const fn = bind(open(), name, signature, missing);
        Object.defineProperty(bound, name, { value: fn });
        return fn;
      },
    });
  }
  return bound as Bindings<T>;
}

function bind(
  library: Library,
  name: string,
  signature: Signature,
  missing: (name: string, signature: Signature, cause: unknown) => Error,
): unknown {
  try {
    const fn = library.func(name, signature.result, [...signature.args]);
    return Object.assign(fn, {
      later: (...args: unknown[]) =>
        new Promise((resolve, reject) => {
          fn.async(...args, (error: unknown, result: unknown) => {
            if (error) reject(error);
            else resolve(result);
          });
        }),
    });
  } catch (cause) {
    throw missing(name, signature, cause);
  }
}

let libbpfLibrary: Library | undefined;
let libbpfText = '';

function openLibbpf(): Library {
  if (libbpfLibrary !== undefined) return libbpfLibrary;
  const path = process.env.LIBBPF_TS_LIBRARY ?? 'libbpf.so.1';
  let library: Library;
  try {
    library = koffi().load(path);
  } catch (cause) {
    throw new BpfError({
      code: 'LIBBPF_MISSING',
      op: 'load library',
      target: path,
      detail: cause instanceof Error ? cause.message : String(cause),
      hint: 'install libbpf 1.1 or newer (Debian and Ubuntu: libbpf1, Fedora: libbpf), or name it in LIBBPF_TS_LIBRARY',
      cause,
    });
  }
  const major = library.func('libbpf_major_version', 'uint32_t', [])() as number;
  const minor = library.func('libbpf_minor_version', 'uint32_t', [])() as number;
  libbpfText = `v${major}.${minor}`;
  if (major < MINIMUM_LIBBPF.major || (major === MINIMUM_LIBBPF.major && minor < MINIMUM_LIBBPF.minor)) {
    const floor = `${MINIMUM_LIBBPF.major}.${MINIMUM_LIBBPF.minor}`;
    throw new BpfError({
      code: 'LIBBPF_TOO_OLD',
      op: 'load library',
      target: path,
      detail: `found libbpf ${major}.${minor}, need ${floor} or newer`,
      hint: `upgrade libbpf from ${major}.${minor} to ${floor} or newer`,
    });
  }
  // Otherwise libbpf writes its warnings to stderr by itself; load() captures them instead.
  library.func('libbpf_set_print', 'void *', ['void *'])(null);
  libbpfLibrary = library;
  return library;
}

/** libbpf's functions, bound when first touched. */
export const libbpf: Bindings<typeof LIBBPF> = bindings(openLibbpf, LIBBPF, (name, { since }, cause) => {
  const needed = `${since[0]}.${since[1]}`;
  return new BpfError({
    code: 'LIBBPF_TOO_OLD',
    op: 'bind',
    target: name,
    detail: `${name} needs libbpf ${needed}, found ${libbpfText}`,
    hint: `upgrade libbpf from ${libbpfText} to ${needed} or newer`,
    cause,
  });
});

/** The few libc calls that Node does not offer. */
export const libc: Bindings<typeof LIBC> = bindings(
  () => koffi().load(null),
  LIBC,
  (name, _signature, cause) =>
    new BpfError({ code: 'LIBBPF_MISSING', op: 'bind', target: `libc ${name}`, cause }),
);

/**
 * The C errno. Trust it only directly after a call that returned NULL or -1: the garbage collector may run, and
 * clobber it, at any allocation in between.
 */
export function lastErrno(): number {
  return koffi().errno();
}

/** Address of a buffer's first byte. The buffer must outlive every use of it. */
export function addressOf(memory: NodeJS.ArrayBufferView | ArrayBuffer): bigint {
  return koffi().address(memory);
}

/** C memory as an ArrayBuffer, not copied. Touching it after the memory is unmapped crashes the process. */
export function viewOf(address: bigint, length: number): ArrayBuffer {
  return koffi().view(address, length);
}

/** A copy of C memory. */
export function copyOf(address: bigint, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(viewOf(address, length)).slice();
}

/** The bytes of a string with its NUL, for structs that hold a `char *`. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(`${text}\0`, 'utf8'));
}

let printType: ReturnType<typeof koffiTypes.proto> | undefined;

/** A registered `libbpf_print_fn_t`; dispose it only when libbpf has forgotten the pointer. */
export function registerPrint(print: (level: number, format: bigint, args: bigint) => number): {
  pointer: bigint;
  [Symbol.dispose](): void;
} {
  printType ??= koffi().pointer(koffi().proto('int', ['int', 'void *', 'void *']));
  const pointer = koffi().register(print, printType);
  return { pointer, [Symbol.dispose]: () => koffi().unregister(pointer) };
}

export interface FdWatch {
  stop(): void;
}

/** Calls back while `fd` is readable, from the event loop's own epoll: no thread is used. */
export function watchReadable(fd: number, callback: () => void): FdWatch {
  const handle = koffi().node.poll(fd, { readable: true }, callback);
  return {
    stop() {
      handle.stop();
      handle.close();
    },
  };
}

const F_DUPFD_CLOEXEC = 1030;

/** A second descriptor of the same object, closed on exec. */
export function duplicateFd(fd: number): number {
  const copy = libc.fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -lastErrno() : copy;
}

/** The version of the libbpf in use. */
export function libbpfVersion(): { major: number; minor: number; text: string } {
  return {
    major: libbpf.libbpf_major_version(),
    minor: libbpf.libbpf_minor_version(),
    text: libbpf.libbpf_version_string() ?? libbpfText,
  };
}

let possibleCpus = 0;

/** CPUs the kernel may ever have: the number of values that a per-CPU map holds for a key. */
export function possibleCpuCount(): number {
  if (possibleCpus === 0) possibleCpus = libbpf.libbpf_num_possible_cpus();
  return possibleCpus;
}
