import { BatchBuffer } from './batch_buffer.ts';
import type { Codec } from './codec.ts';
import { type DumpShape, dump, dumpKeys, noBatch } from './dump.ts';
import { type BpfError, type BpfErrorOptions, badValue, errnoError, errnoName } from './errors.ts';
import { libbpf } from './ffi.ts';
import { type MapInfo, mapInfo, type Named } from './info.ts';
import { infoOrClose, KernelObject, openPin } from './kernel_object.ts';
import { isPerCpu, type MapType } from './uapi.ts';

/** What an update demands of the key: nothing, that it is new, or that it is there. */
export type UpdateFlag = 'any' | 'noexist' | 'exist';
const UPDATE_FLAGS: Record<UpdateFlag, number> = { any: 0, noexist: 1, exist: 2 };

/** Any map: what it is, its pin, its descriptor. */
export class KernelMap extends KernelObject {
  readonly name: string;
  readonly type: Named<MapType>;
  readonly id: number;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes, of one CPU's value for per-CPU maps. */
  readonly valueSize: number;
  readonly maxEntries: number;

  /**
   * @param fd owned by the map from here on
   * @param options `name` where the kernel cut it to 15 bytes
   */
  constructor(fd: number, options: { name?: string | undefined; pinPath?: string | undefined } = {}) {
    const info = infoOrClose(fd, mapInfo);
    const name = options.name ?? info.name;
    super(fd, `map ${name}`, options.pinPath);
    this.name = name;
    this.type = info.type;
    this.id = info.id;
    this.keySize = info.keySize;
    this.valueSize = info.valueSize;
    this.maxEntries = info.maxEntries;
  }

  info(): MapInfo {
    return mapInfo(this.fd);
  }

  /**
   * Lets no system call change it from here on; programs still may (Linux 5.2, bpf(2) BPF_MAP_FREEZE).
   *
   * @throws BpfError when it is frozen already: EPERM, on older kernels EBUSY
   */
  freeze(): void {
    const result = libbpf.bpf_map_freeze(this.fd);
    if (result < 0) throw errnoError(result, 'freeze', this.target);
  }
}

/** What is pinned at a path, whatever its keys and values. @throws BpfError ENOENT when nothing is */
export function pinnedMapInfo(path: string): MapInfo {
  using map = new KernelMap(openPin(path, 'map'), { pinPath: path });
  return map.info();
}

export interface MapCodecs<K, V> {
  key: Codec<K>;
  value: Codec<V>;
}

/**
 * A map that reads and writes like a JavaScript Map. Every call is one or a few system calls; walking reads in
 * batches, and entries that vanish during the walk are skipped.
 */
export abstract class TypedMap<K, V> extends KernelMap {
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  readonly #keyView: DataView;
  readonly #valueView: DataView;

  /**
   * @param fd owned by the map from here on
   * @throws BpfError BAD_VALUE when a codec's size is not the map's
   */
  constructor(
    fd: number,
    codecs: MapCodecs<K, V>,
    options: { name?: string | undefined; pinPath?: string | undefined } = {},
  ) {
    super(fd, options);
    this.#key = codecs.key;
    this.#value = codecs.value;
    const fault = this.codecFault(codecs);
    if (fault !== undefined) {
      this.close();
      throw fault;
    }
    this.#keyView = new DataView(new ArrayBuffer(this.keySize));
    this.#valueView = new DataView(new ArrayBuffer(codecs.value.size));
  }

  /** Bytes that the kernel copies for one value. */
  protected valueBytes(): number {
    return this.valueSize;
  }

  /** Why these codecs cannot be this map's. */
  protected codecFault(codecs: MapCodecs<K, V>): BpfError | undefined {
    const bytes = this.valueBytes();
    if (codecs.key.size === this.keySize && codecs.value.size === bytes) return undefined;
    const codecBytes = `the codecs ${codecs.key.size} and ${codecs.value.size}`;
    return badValue(
      `its keys and values have ${this.keySize} and ${bytes} bytes, ${codecBytes}`,
      this.target,
      'run `libbpf-ts gen` again, or migrate the pinned map',
    );
  }

  /** The value, or undefined when the key is not there. */
  get(key: K): V | undefined {
    this.#key.write(this.#keyView, 0, key);
    const result = libbpf.bpf_map_lookup_elem(this.fd, this.#keyView, this.#valueView);
    if (result < 0) {
      if (errnoName(result) === 'ENOENT') return undefined;
      throw this.fail(result, 'lookup in');
    }
    return this.#value.read(this.#valueView, 0);
  }

  has(key: K): boolean {
    this.#key.write(this.#keyView, 0, key);
    const result = libbpf.bpf_map_lookup_elem(this.fd, this.#keyView, this.#valueView);
    if (result < 0 && errnoName(result) !== 'ENOENT') throw this.fail(result, 'lookup in');
    return result >= 0;
  }

  /** @throws BpfError E2BIG or ENOSPC when the map is full, EEXIST or ENOENT by `flag` */
  set(key: K, value: V, flag: UpdateFlag = 'any'): this {
    this.#key.write(this.#keyView, 0, key);
    this.#value.write(this.#valueView, 0, value);
    const result = libbpf.bpf_map_update_elem(this.fd, this.#keyView, this.#valueView, UPDATE_FLAGS[flag]);
    if (result < 0) throw this.fail(result, 'update');
    return this;
  }

  /** Sets a value of nothing but zero bytes; in a per-CPU map that of every CPU. */
  setZero(key: K, flag: UpdateFlag = 'any'): this {
    this.#key.write(this.#keyView, 0, key);
    const zero = new Uint8Array(this.#value.size);
    const result = libbpf.bpf_map_update_elem(this.fd, this.#keyView, zero, UPDATE_FLAGS[flag]);
    if (result < 0) throw this.fail(result, 'update');
    return this;
  }

  /** @returns whether the key was there */
  delete(key: K): boolean {
    this.#key.write(this.#keyView, 0, key);
    const result = libbpf.bpf_map_delete_elem(this.fd, this.#keyView);
    if (result < 0 && errnoName(result) !== 'ENOENT') throw this.fail(result, 'delete from');
    return result >= 0;
  }

  /** Removes and returns a value: in one step for hashes since 5.14, else in two. */
  lookupAndDelete(key: K): V | undefined {
    this.#key.write(this.#keyView, 0, key);
    const result = libbpf.bpf_map_lookup_and_delete_elem(this.fd, this.#keyView, this.#valueView);
    if (result >= 0) return this.#value.read(this.#valueView, 0);
    if (errnoName(result) === 'ENOENT') return undefined;
    if (!noBatch(result)) throw this.fail(result, 'take from');
    const value = this.get(key);
    return value !== undefined && this.delete(key) ? value : undefined;
  }

  /** Entries as they stand; see {@link entries}. */
  [Symbol.iterator](): Generator<[K, V], void, void> {
    return this.entries();
  }

  /**
   * All entries. Deleting and setting keys while walking is safe.
   * @param options `batch`: entries a system call; 0 reads one by one
   */
  *entries(options: { batch?: number } = {}): Generator<[K, V], void, void> {
    const key = this.#key;
    const value = this.#value;
    const keyBytes = key.size;
    const valueBytes = value.size;
    for (const { keys, values, count } of dump(this.shape(), options.batch)) {
      for (let i = 0; i < count; i++)
        yield [key.read(keys, i * keyBytes), value.read(values, i * valueBytes)];
    }
  }

  *keys(): Generator<K, void, void> {
    const key = this.#key;
    const keyBytes = key.size;
    for (const { keys, count } of dump(this.shape())) {
      for (let i = 0; i < count; i++) yield key.read(keys, i * keyBytes);
    }
  }

  *values(): Generator<V, void, void> {
    for (const [, value] of this.entries()) yield value;
  }

  /** Keys through get_next_key, for maps whose values user space cannot read. */
  protected *keysOneByOne(): Generator<K, void, void> {
    for (const key of dumpKeys(this.shape())) yield this.#key.read(new DataView(key.buffer), 0);
  }

  /** Counts the entries. The kernel keeps no count for user space, so this walks the map. */
  size(): number {
    let total = 0;
    for (const { count } of dump(this.shape())) total += count;
    return total;
  }

  /**
   * Writes many entries, thousands in a system call.
   * @returns how many were written
   * @throws BpfError whose message tells how many were written before the failure
   */
  setMany(entries: Iterable<readonly [K, V]>, flag: UpdateFlag = 'any'): number {
    let written = 0;
    const writer = new BatchBuffer(this.#key.size, this.#value.size);
    const flush = (): void => {
      written += this.#writeBatch(writer, UPDATE_FLAGS[flag], written);
    };
    for (const [key, value] of entries) {
      this.#key.write(writer.keys, writer.keyOffset, key);
      this.#value.write(writer.values, writer.valueOffset, value);
      if (writer.advance()) flush();
    }
    flush();
    return written;
  }

  #writeBatch(batch: BatchBuffer, flag: number, before: number): number {
    const { count } = batch;
    if (count === 0) return 0;
    const done = new Uint32Array([count]);
    const options = new BigUint64Array([24n, BigInt(flag), 0n]); // struct bpf_map_batch_opts
    const result = libbpf.bpf_map_update_batch(this.fd, batch.keys, batch.values, done, options);
    const written = done[0] ?? 0;
    if (result < 0 && !noBatch(result)) {
      throw this.fail(result, 'update', { detail: `after ${before + written} entries` });
    }
    if (result < 0) {
      // Without batches the kernel leaves the count alone; else EINVAL is of one entry, and found again below.
      for (let i = written < count ? written : 0; i < count; i++) {
        const one = libbpf.bpf_map_update_elem(this.fd, batch.keyAt(i), batch.valueAt(i), flag);
        if (one < 0) throw this.fail(one, 'update', { detail: `after ${before + i} entries` });
      }
    }
    batch.reset();
    return count;
  }

  /** Deletes many keys. @returns how many of them were there */
  deleteMany(keys: Iterable<K>): number {
    let deleted = 0;
    const batch = new BatchBuffer(this.#key.size, 0);
    for (const key of keys) {
      this.#key.write(batch.keys, batch.keyOffset, key);
      if (batch.advance()) deleted += this.#deleteBatch(batch);
    }
    return deleted + this.#deleteBatch(batch);
  }

  #deleteBatch(batch: BatchBuffer): number {
    let deleted = 0;
    let from = 0;
    while (from < batch.count) {
      const done = new Uint32Array([batch.count - from]);
      const result = libbpf.bpf_map_delete_batch(this.fd, batch.keysFrom(from), done, null);
      const code = result < 0 ? errnoName(result) : undefined;
      if (result < 0 && noBatch(result)) {
        for (let i = from; i < batch.count; i++) {
          const one = libbpf.bpf_map_delete_elem(this.fd, batch.keyAt(i));
          if (one >= 0) deleted++;
          else if (errnoName(one) !== 'ENOENT') throw this.fail(one, 'delete from');
        }
        break;
      }
      if (code !== undefined && code !== 'ENOENT') throw this.fail(result, 'delete from');
      // The kernel stops at the first key that is missing: step over it.
      const handled = done[0] ?? 0;
      deleted += handled;
      from += handled + (code === 'ENOENT' ? 1 : 0);
    }
    batch.reset();
    return deleted;
  }

  /** Deletes every entry that is there when it starts. Array elements cannot be deleted and are zeroed. */
  clear(): void {
    if (this.type === 'array' || this.type === 'percpu_array') {
      const zero = new Uint8Array(this.#value.size);
      const index = new Uint32Array(1);
      for (let i = 0; i < this.maxEntries; i++) {
        index[0] = i;
        const result = libbpf.bpf_map_update_elem(this.fd, index, zero, 0);
        if (result < 0) throw this.fail(result, 'update');
      }
      return;
    }
    this.deleteMany([...this.keys()]);
  }

  /** What a walk needs to know. */
  protected shape(): DumpShape {
    return {
      fd: this.fd,
      target: this.target,
      keySize: this.keySize,
      valueBytes: this.#value.size,
      maxEntries: this.maxEntries,
    };
  }

  protected fail(result: number, op: string, more: Pick<BpfErrorOptions, 'detail' | 'hint'> = {}): BpfError {
    const code = errnoName(result);
    const full = op === 'update' && (code === 'E2BIG' || code === 'ENOSPC');
    return errnoError(result, op, this.target, {
      ...more,
      ...(full && more.detail === undefined ? { detail: `it takes ${this.maxEntries} entries` } : {}),
    });
  }
}

/** A hash, array, LRU or LPM trie. An LPM key is a struct whose first field is `prefixlen`. */
export class BpfMap<K, V> extends TypedMap<K, V> {
  protected override codecFault(codecs: MapCodecs<K, V>): BpfError | undefined {
    if (!isPerCpu(this.type)) return super.codecFault(codecs);
    return badValue(`a ${this.type} map holds one value a CPU`, this.target, 'open it as a PerCpuMap');
  }

  /** Opens a map pinned by this or another process. */
  static fromPin<K, V>(path: string, codecs: MapCodecs<K, V>): BpfMap<K, V> {
    return new BpfMap(openPin(path, 'map'), codecs, { pinPath: path });
  }
}
