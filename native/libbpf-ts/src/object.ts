import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Btf } from './btf.ts';
import { codec } from './codec.ts';
import type {
  MapDefinition,
  MapDefinitions,
  MapOf,
  ProgramDefinitions,
  RodataDefinitions,
  RodataOf,
} from './definition.ts';
import { BpfError, badValue, check } from './errors.ts';
import { addressOf, copyOf, cString, duplicateFd, lastErrno, libbpf } from './ffi.ts';
import { mapInfo, type Named } from './info.ts';
import { loadError, mismatchAt, openError } from './load_error.ts';
import { BpfMap, type KernelMap } from './map.ts';
import { PerCpuMap } from './percpu_map.ts';
import { capture, captureLater } from './print_capture.ts';
import { Program } from './program.ts';
import { RingBufferMap } from './ring_buffer.ts';
import { Rodata } from './rodata.ts';
import { SkStorageMap, SockMap } from './socket_map.ts';
import {
  ATTACH_TYPES,
  type AttachType,
  isPerCpu,
  LITTLE_ENDIAN,
  MAP_TYPES,
  type MapType,
  nameOf,
  PROGRAM_TYPES,
  type ProgramType,
} from './uapi.ts';
import { LogBuffers } from './verifier_log.ts';

export interface OpenOptions {
  /** Where maps that ask to be pinned by name (`__uint(pinning, LIBBPF_PIN_BY_NAME)`) go. Default /sys/fs/bpf. */
  pinRoot?: string;
  /** A BTF file to relocate against, in place of /sys/kernel/btf/vmlinux. */
  kernelBtf?: string;
}

export interface OpenFileOptions extends OpenOptions {
  /** The object file: a path, or its bytes. */
  file: string | Uint8Array;
}

/** An object file's description: what `libbpf-ts gen` writes. */
export interface ObjectDefinition<
  M extends MapDefinitions,
  P extends ProgramDefinitions,
  R extends RodataDefinitions,
> {
  readonly name: string;
  readonly maps: M;
  readonly programs: P;
  readonly rodata: R;
  /**
   * Reads an object file; nothing is in the kernel yet.
   * @throws BpfError BAD_VALUE when the file is not the one that this was generated from
   */
  open(options: OpenFileOptions): OpenObject<M, P, R>;
}

/** Describes an object file by hand or from the generator, so that its maps and settings are typed. */
export function defineObject<
  const M extends MapDefinitions,
  const P extends ProgramDefinitions,
  const R extends RodataDefinitions = Record<never, never>,
>(definition: { name: string; maps: M; programs: P; rodata?: R }): ObjectDefinition<M, P, R> {
  const full = { ...definition, rodata: definition.rodata ?? ({} as R) };
  return { ...full, open: (options) => new OpenObject(options, full) };
}

/** An object file opened without a description: maps and programs by name, keys and values as bytes. */
export type UntypedObject = OpenObject<MapDefinitions, ProgramDefinitions, RodataDefinitions>;

/** Opens any object file. @throws BpfError EINVAL when it is not one */
export function openObject(file: string | Uint8Array, options: OpenOptions = {}): UntypedObject {
  return new OpenObject({ ...options, file });
}

/** A map of an object that is not loaded yet. */
export class OpenMap {
  readonly name: string;
  readonly type: Named<MapType>;
  readonly keySize: number;
  readonly valueSize: number;
  readonly flags: number;
  readonly #pointer: bigint;
  readonly #usable: () => void;

  constructor(pointer: bigint, usable: () => void) {
    this.#pointer = pointer;
    this.#usable = usable;
    this.name = libbpf.bpf_map__name(pointer) ?? '';
    this.type = nameOf(MAP_TYPES, libbpf.bpf_map__type(pointer));
    this.keySize = libbpf.bpf_map__key_size(pointer);
    this.valueSize = libbpf.bpf_map__value_size(pointer);
    this.flags = libbpf.bpf_map__map_flags(pointer);
  }

  /** Capacity; bytes for a ring buffer, where it must be a power of two and a multiple of the page. */
  get maxEntries(): number {
    this.#usable();
    return libbpf.bpf_map__max_entries(this.#pointer);
  }

  set maxEntries(entries: number) {
    this.#usable();
    if (!Number.isInteger(entries) || entries < 1 || entries > 0xffff_ffff) {
      throw badValue(`maxEntries ${entries}`, `map ${this.name}`);
    }
    check(libbpf.bpf_map__set_max_entries(this.#pointer, entries), 'set maxEntries of', `map ${this.name}`);
  }

  /** Where it is pinned at load. A map of the same shape that is pinned there already is used instead. */
  get pinPath(): string | undefined {
    this.#usable();
    return libbpf.bpf_map__pin_path(this.#pointer) ?? undefined;
  }

  set pinPath(path: string) {
    this.#usable();
    check(libbpf.bpf_map__set_pin_path(this.#pointer, path), 'set pin path of', `map ${this.name}`);
  }

  /** Uses a map that exists in place of a new one. Its type and sizes replace the object's. */
  reuse(map: KernelMap): void {
    this.#usable();
    check(libbpf.bpf_map__reuse_fd(this.#pointer, map.fd), 'reuse', map.target);
  }
}

/** A program of an object that is not loaded yet. */
export class OpenProgram {
  readonly name: string;
  readonly section: string;
  readonly type: Named<ProgramType>;
  /** What {@link Link} attaches it as; undefined for types that have no attach type. */
  readonly attachType: Named<AttachType> | undefined;
  readonly #pointer: bigint;
  readonly #usable: () => void;

  constructor(pointer: bigint, usable: () => void) {
    this.#pointer = pointer;
    this.#usable = usable;
    this.name = libbpf.bpf_program__name(pointer) ?? '';
    this.section = libbpf.bpf_program__section_name(pointer) ?? '';
    this.type = nameOf(PROGRAM_TYPES, libbpf.bpf_program__type(pointer));
    this.attachType = attachTypeOf(pointer);
  }

  /** Whether load() loads it. */
  get autoload(): boolean {
    this.#usable();
    return libbpf.bpf_program__autoload(this.#pointer);
  }

  set autoload(load: boolean) {
    this.#usable();
    check(libbpf.bpf_program__set_autoload(this.#pointer, load), 'set autoload of', `program ${this.name}`);
  }
}

/**
 * An object file read into memory. Settings are made here; `load` consumes it. Holds no kernel object.
 */
export class OpenObject<M extends MapDefinitions, P extends ProgramDefinitions, R extends RodataDefinitions>
  implements Disposable
{
  readonly name: string;
  readonly maps: { readonly [N in keyof M]: OpenMap };
  readonly programs: { readonly [N in keyof P]: OpenProgram };
  /** The `const volatile` globals. Set before load they are constants to the verifier, which prunes by them. */
  readonly rodata: RodataOf<R>;
  readonly #definition: { maps: M; programs: P } | undefined;
  readonly #mapPointers: readonly { name: string; pointer: bigint }[];
  readonly #programPointers: readonly { name: string; pointer: bigint }[];
  readonly #rodata: Rodata;
  #pointer: bigint | undefined;

  constructor(options: OpenFileOptions, definition?: { name: string; maps: M; programs: P; rodata: R }) {
    this.#definition = definition;
    const { file } = options;
    this.name =
      definition?.name ?? (typeof file === 'string' ? basename(file).replace(/\..*$/, '') : 'object');
    const bytes = typeof file === 'string' ? readObject(file) : file;
    const pointer = openMemory(bytes, this.name, options);
    this.#pointer = pointer;
    try {
      const usable = (): void => void this.#live();
      this.#mapPointers = walk(libbpf.bpf_object__next_map, libbpf.bpf_map__name, pointer).filter(
        ({ pointer: map }) => !libbpf.bpf_map__is_internal(map),
      );
      this.#programPointers = walk(libbpf.bpf_object__next_program, libbpf.bpf_program__name, pointer);
      const maps = Object.fromEntries(
        this.#mapPointers.map((map) => [map.name, new OpenMap(map.pointer, usable)]),
      );
      const programs = Object.fromEntries(
        this.#programPointers.map((program) => [program.name, new OpenProgram(program.pointer, usable)]),
      );
      if (definition !== undefined) verify(definition, maps, programs);
      this.maps = maps as { [N in keyof M]: OpenMap };
      this.programs = programs as { [N in keyof P]: OpenProgram };
      this.#rodata = new Rodata(pointer, objectBtf(pointer), definition?.rodata);
      this.rodata = this.#rodata.accessors as RodataOf<R>;
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #live(): bigint {
    if (this.#pointer === undefined) {
      throw new BpfError({
        code: 'CLOSED',
        op: 'use',
        target: `object ${this.name}`,
        detail: 'it was loaded or closed',
        hint: 'settings are made between open and load; open the file again to load it again',
      });
    }
    return this.#pointer;
  }

  /**
   * Makes the maps and has the verifier check the programs, on a thread of libuv's pool. Loads take turns.
   * The object is used up, whether it succeeds or not.
   * @throws BpfError naming the program or map that failed; `log` holds what the verifier said
   */
  async load(): Promise<LoadedObject<M, P>> {
    const pointer = this.#live();
    this.#rodata.commit();
    const pins = Object.values<OpenMap>(this.maps).map((map) => ({
      map: map.name,
      path: map.pinPath,
      shape: {
        type: map.type,
        keySize: map.keySize,
        valueSize: map.valueSize,
        maxEntries: map.maxEntries,
        flags: map.flags,
      },
    }));
    const wanted = this.#programPointers.filter((program) => libbpf.bpf_program__autoload(program.pointer));
    using logs = new LogBuffers(wanted);
    this.#pointer = undefined; // from here on nobody may touch it: it is in use on another thread
    try {
      const { result, said } = await captureLater(() => libbpf.bpf_object__load.later(pointer));
      if (result < 0) {
        const mismatch = pins
          .flatMap(({ map, path, shape }) => {
            const difference = path === undefined ? undefined : mismatchAt(path, shape);
            return difference === undefined ? [] : [{ map, difference }];
          })
          .at(0);
        throw loadError({ result, object: this.name, verifier: logs.failed(), said, mismatch });
      }
      return this.#adopt();
    } finally {
      libbpf.bpf_object__close(pointer);
    }
  }

  /** Takes descriptors of its own of everything loaded, so that libbpf's object can go. */
  #adopt(): LoadedObject<M, P> {
    const owned: Disposable[] = [];
    try {
      const maps: Record<string, KernelMap> = {};
      for (const { name, pointer } of this.#mapPointers) {
        const fd = check(duplicateFd(libbpf.bpf_map__fd(pointer)), 'load', `map ${name}`);
        const pinPath = libbpf.bpf_map__pin_path(pointer) ?? undefined;
        const map = makeMap(fd, name, pinPath, this.#definition?.maps[name]);
        maps[name] = map;
        owned.push(map);
      }
      const programs: Record<string, Program> = {};
      for (const { name, pointer } of this.#programPointers) {
        const loaded = libbpf.bpf_program__fd(pointer);
        if (loaded < 0) {
          defineAbsent(programs, name);
          continue;
        }
        const fd = check(duplicateFd(loaded), 'load', `program ${name}`);
        const program = new Program(fd, { name, attachType: attachTypeOf(pointer) });
        programs[name] = program;
        owned.push(program);
      }
      return new LoadedObject(
        this.name,
        maps as { [N in keyof M]: MapOf<M[N]> },
        programs as { [N in keyof P]: Program },
      );
    } catch (error) {
      for (const one of owned) one[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#pointer === undefined) return;
    libbpf.bpf_object__close(this.#pointer);
    this.#pointer = undefined;
  }
}

/** Maps and programs in the kernel. Closing it closes them; what is pinned or attached by a pinned link stays. */
export class LoadedObject<M extends MapDefinitions, P extends ProgramDefinitions> implements Disposable {
  readonly name: string;
  readonly maps: { readonly [N in keyof M]: MapOf<M[N]> };
  /** Reading one whose autoload was switched off throws BpfError ENOENT. */
  readonly programs: { readonly [N in keyof P]: Program };

  constructor(
    name: string,
    maps: { readonly [N in keyof M]: MapOf<M[N]> },
    programs: { readonly [N in keyof P]: Program },
  ) {
    this.name = name;
    this.maps = maps;
    this.programs = programs;
  }

  [Symbol.dispose](): void {
    for (const map of Object.values<KernelMap>(this.maps)) map.close();
    for (const program of Object.values<Program>(this.programs)) program.close();
  }
}

function readObject(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new BpfError({
      code: cause instanceof Error && 'code' in cause ? String(cause.code) : 'EIO',
      op: 'open object',
      target: path,
      hint: 'compile it with `clang -O2 -g -target bpf -c`',
      cause,
    });
  }
}

/** By the program's section. Number 0 is the type of cgroup_skb/ingress, and what all without a type have. */
function attachTypeOf(program: bigint): Named<AttachType> | undefined {
  const value = libbpf.bpf_program__expected_attach_type(program);
  const type = nameOf(PROGRAM_TYPES, libbpf.bpf_program__type(program));
  return value === 0 && type !== 'cgroup_skb' ? undefined : nameOf(ATTACH_TYPES, value);
}

/** A program that was not loaded: reading it says why, where an undefined would fail somewhere else. */
function defineAbsent(programs: Record<string, Program>, name: string): void {
  Object.defineProperty(programs, name, {
    enumerable: false,
    get() {
      throw new BpfError({
        code: 'ENOENT',
        op: 'use',
        target: `program ${name}`,
        detail: 'it was not loaded',
        hint: 'set its autoload to true before load',
      });
    },
  });
}

/** Offsets in `struct bpf_object_open_opts` (libbpf 1.1; later releases only append). */
const OPEN_OPTS = { bytes: 72, objectName: 8, pinRoot: 24, kernelBtf: 48 } as const;

function openMemory(bytes: Uint8Array, name: string, { pinRoot, kernelBtf }: OpenOptions): bigint {
  const opts = new DataView(new ArrayBuffer(OPEN_OPTS.bytes));
  opts.setBigUint64(0, BigInt(OPEN_OPTS.bytes), LITTLE_ENDIAN);
  const texts = [
    [OPEN_OPTS.objectName, name],
    [OPEN_OPTS.pinRoot, pinRoot],
    [OPEN_OPTS.kernelBtf, kernelBtf],
  ] as const;
  const kept = texts.map(([offset, text]) => {
    if (text === undefined) return undefined;
    const bytes = cString(text);
    opts.setBigUint64(offset, addressOf(bytes), LITTLE_ENDIAN);
    return bytes;
  });
  const { result, said } = capture(() => {
    const pointer = libbpf.bpf_object__open_mem(bytes, bytes.length, opts);
    return { pointer, errno: pointer === null ? lastErrno() : 0, kept };
  });
  if (result.pointer === null) throw openError(result.errno, name, said);
  return result.pointer;
}

/** The object's BTF as libbpf completed it: variables have their offsets. */
function objectBtf(pointer: bigint): Btf {
  const btf = libbpf.bpf_object__btf(pointer);
  const size = new Uint32Array(1);
  const data = btf === null ? null : libbpf.btf__raw_data(btf, size);
  if (data === null) {
    throw new BpfError({
      code: 'BAD_VALUE',
      op: 'open object',
      detail: 'it has no BTF',
      hint: 'compile it with -g',
    });
  }
  return Btf.parse(copyOf(data, size[0] ?? 0));
}

function walk(
  next: (object: bigint, previous: bigint | null) => bigint | null,
  nameOf: (item: bigint) => string | null,
  object: bigint,
): { name: string; pointer: bigint }[] {
  const found: { name: string; pointer: bigint }[] = [];
  for (let item = next(object, null); item !== null; item = next(object, item)) {
    found.push({ name: nameOf(item) ?? '', pointer: item });
  }
  return found;
}

const REGENERATE = 'run `libbpf-ts gen` on the object file again';

/** The generated description must be of this file: a stale one would write values of the wrong shape. */
function verify(
  definition: { maps: MapDefinitions; programs: ProgramDefinitions },
  maps: Readonly<Record<string, OpenMap>>,
  programs: Readonly<Record<string, OpenProgram>>,
): void {
  for (const [name, wanted] of Object.entries(definition.maps)) {
    const map = maps[name];
    if (map === undefined) throw badValue('the object file has no such map', `map ${name}`, REGENERATE);
    if (map.type !== wanted.type) {
      throw badValue(`it is a ${map.type}, generated code has ${wanted.type}`, `map ${name}`, REGENERATE);
    }
    const key = wanted.key?.size ?? map.keySize;
    const value = wanted.value?.size ?? map.valueSize;
    if (key !== map.keySize || value !== map.valueSize) {
      throw badValue(
        `keys and values have ${map.keySize} and ${map.valueSize} bytes, in generated code ${key} and ${value}`,
        `map ${name}`,
        REGENERATE,
      );
    }
  }
  for (const name of Object.keys(definition.programs)) {
    if (programs[name] === undefined) {
      throw badValue('the object file has no such program', `program ${name}`, REGENERATE);
    }
  }
}

function makeMap(
  fd: number,
  name: string,
  pinPath: string | undefined,
  definition?: MapDefinition,
): KernelMap {
  const options = { name, pinPath };
  const { type, keySize, valueSize } = mapInfo(fd);
  if (type === 'ringbuf') return new RingBufferMap(fd, options);
  const key = definition?.key ?? codec.bytes(keySize);
  const value = definition?.value ?? codec.bytes(valueSize);
  if (isPerCpu(type)) return new PerCpuMap(fd, { key, value }, options);
  if (type === 'sockhash' || type === 'sockmap') return new SockMap(fd, { key, value }, options);
  if (type === 'sk_storage') return new SkStorageMap(fd, { value }, options);
  return new BpfMap(fd, { key, value }, options);
}
