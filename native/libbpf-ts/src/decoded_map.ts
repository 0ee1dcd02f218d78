import { Btf } from './btf.ts';
import { type Codec, codec, encodeValue } from './codec.ts';
import { type CodecsByType, dynamicCodec, hexCodec } from './dynamic_codec.ts';
import { BpfError, errnoError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { type MapInfo, mapInfo } from './info.ts';
import { listPrograms } from './inspect.ts';
import { openPin } from './kernel_object.ts';
import { BpfMap, type KernelMap, type TypedMap } from './map.ts';
import { mapDeclaration } from './map_declaration.ts';
import { PerCpuMap } from './percpu_map.ts';
import { RingBufferMap } from './ring_buffer.ts';
import { Shapes, typeText } from './shape.ts';
import { notWalkable, SkStorageMap, SockMap } from './socket_map.ts';
import { isPerCpu } from './uapi.ts';
import { parseValueText } from './value_text.ts';

/** One side of a map: what its type is called, and how it is read. */
interface Side {
  type: string;
  codec: Codec<unknown>;
}

export interface DecodeOptions {
  /** How values of a C type are read and written, by its name (`struct addr`), where it is not as an object. */
  types?: CodecsByType;
}

/**
 * A map read through the type information that the kernel keeps of it, with no object file at hand. Values are plain
 * data: numbers, bigints for 64 bits, strings, arrays and objects; bytes are hex. Without BTF both sides are hex.
 */
export class DecodedMap implements Disposable {
  readonly info: MapInfo;
  /** C name of the key's type: '__u64', 'struct cidr_key', or 'bytes[24]' when it is not known. */
  readonly keyType: string;
  readonly valueType: string;
  readonly #key: Codec<unknown>;
  readonly #map: KernelMap;
  readonly #entries: TypedMap<unknown, unknown> | undefined;

  /** @param fd owned by the map from here on */
  constructor(fd: number, pinPath?: string, { types = {} }: DecodeOptions = {}) {
    const info = mapInfo(fd);
    const { key, value } = sidesOf(info, types);
    this.info = info;
    this.keyType = key.type;
    this.valueType = value.type;
    this.#key = key.codec;
    const { map, entries } = openTyped(fd, info, key.codec, value.codec, pinPath);
    this.#map = map;
    this.#entries = entries;
  }

  get fd(): number {
    return this.#map.fd;
  }

  /**
   * All entries. Per-CPU values are arrays, a sockhash gives socket cookies.
   * @throws BpfError ENOTSUP for ring buffers and storage maps
   */
  entries(): IterableIterator<[unknown, unknown]> {
    return this.#walkable().entries();
  }

  keys(): IterableIterator<unknown> {
    return this.#walkable().keys();
  }

  size(): number {
    return this.#walkable().size();
  }

  /** The value, or undefined. @param key in the form that {@link entries} gives, or from {@link parseKey} */
  get(key: unknown): unknown {
    return this.#walkable().get(key);
  }

  /** Writes a value in the form that {@link entries} gives. */
  set(key: unknown, value: unknown): void {
    this.#walkable().set(key, value);
  }

  /** @returns whether the key was there */
  delete(key: unknown): boolean {
    return this.#walkable().delete(key);
  }

  /**
   * A key as typed on a command line: JSON, `name=value,name=value`, a number, or hex. For a key that is a struct,
   * hex (`0x…`, all of its bytes) is its memory.
   * @throws BpfError BAD_VALUE when it does not fit the key's type
   */
  parseKey(text: string): unknown {
    const { size } = this.#key;
    const zero = this.#key.read(new DataView(new ArrayBuffer(size)), 0);
    const raw = typeof zero === 'object' && text.length === 2 + size * 2 && /^0x[0-9a-f]*$/i.test(text);
    const bytes = encodeValue(raw ? hexCodec(size) : this.#key, parseValueText(text));
    return this.#key.read(new DataView(bytes.buffer), 0);
  }

  #walkable(): TypedMap<unknown, unknown> {
    if (this.#entries === undefined) throw notWalkable(this.#map);
    return this.#entries;
  }

  close(): void {
    this.#map.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens a pinned map of any kind. @throws BpfError ENOENT when nothing is there */
export function openPinnedMap(path: string, options: DecodeOptions = {}): DecodedMap {
  return new DecodedMap(openPin(path, 'map'), path, options);
}

/** Opens a map by the id that {@link listMaps} gives; needs CAP_SYS_ADMIN. */
export function openMapById(id: number, options: DecodeOptions = {}): DecodedMap {
  const fd = libbpf.bpf_map_get_fd_by_id(id);
  if (fd < 0) throw errnoError(fd, 'open by id', `map ${id}`);
  return new DecodedMap(fd, undefined, options);
}

function openTyped(
  fd: number,
  info: MapInfo,
  key: Codec<unknown>,
  value: Codec<unknown>,
  pinPath: string | undefined,
): { map: KernelMap; entries: TypedMap<unknown, unknown> | undefined } {
  const options = { pinPath };
  switch (info.type) {
    case 'ringbuf':
    case 'user_ringbuf':
      return { map: new RingBufferMap(fd, options), entries: undefined };
    case 'sk_storage':
      return { map: new SkStorageMap(fd, { value }, options), entries: undefined };
    case 'sockhash':
    case 'sockmap': {
      const map: TypedMap<unknown, unknown> = new SockMap(fd, { key, value }, options) as TypedMap<
        unknown,
        unknown
      >;
      return { map, entries: map };
    }
    default: {
      const map: TypedMap<unknown, unknown> = isPerCpu(info.type)
        ? (new PerCpuMap(fd, { key, value }, options) as TypedMap<unknown, unknown>)
        : new BpfMap(fd, { key, value }, options);
      return { map, entries: map };
    }
  }
}

function sidesOf(info: MapInfo, types: CodecsByType): { key: Side; value: Side } {
  const raw = (size: number): Side => ({ type: `bytes[${size}]`, codec: hexCodec(size) });
  const index: Side = { type: '__u32', codec: dynamicCodec({ kind: 'scalar', size: 4, codec: 'u32' }) };
  const cookie: Side = { type: 'socket cookie', codec: codec.u64 as Codec<unknown> };
  const known = typesOf(info);
  const side = (id: number | undefined, size: number): Side | undefined => {
    if (known === undefined || id === undefined || id === 0 || known.btf.sizeOf(id) !== size)
      return undefined;
    return {
      type: typeText(known.btf, known.btf.type(id)),
      codec: dynamicCodec(new Shapes(known.btf).of(id), types),
    };
  };
  const socket = info.type === 'sockhash' || info.type === 'sockmap';
  const indexed = /array|^sockmap$|^xskmap$|^devmap$|^cpumap$/.test(info.type) && info.keySize === 4;
  const nested = /_of_maps$|^prog_array$/.test(info.type);
  return {
    key: side(known?.key, info.keySize) ?? (indexed ? index : raw(info.keySize)),
    value:
      socket && info.valueSize === 8
        ? cookie
        : (side(known?.value, info.valueSize) ?? (nested ? { ...index, type: 'id' } : raw(info.valueSize))),
  };
}

interface KnownTypes {
  btf: Btf;
  key: number | undefined;
  value: number | undefined;
}

/** Types from the map's own BTF; libbpf gives none to sockhashes and some others, whose users' BTF tells. */
function typesOf(info: MapInfo): KnownTypes | undefined {
  try {
    if (info.btfId !== 0) {
      return { btf: Btf.fromKernel(info.btfId), key: info.btfKeyTypeId, value: info.btfValueTypeId };
    }
    for (const program of listPrograms()) {
      if (program.btfId === 0 || !program.mapIds.includes(info.id)) continue;
      const btf = Btf.fromKernel(program.btfId);
      const found = mapDeclaration(btf, info.name);
      if (found !== undefined) return { btf, key: found.key, value: found.value };
    }
  } catch (error) {
    // Without the right to read BTF by id (CAP_SYS_ADMIN) the map itself can still be read, as bytes.
    if (!(error instanceof BpfError) || error.code !== 'EPERM') throw error;
  }
  return undefined;
}
