import { type Codec, codec } from './codec.ts';
import { BpfError } from './errors.ts';
import { openPin } from './kernel_object.ts';
import { TypedMap, type UpdateFlag } from './map.ts';

/** Written as a descriptor number, read as a cookie: the two meanings of a sockmap's value. */
function socketValue(size: number): Codec<bigint> {
  return size === 8
    ? codec.u64
    : {
        size,
        read: (v, o) => BigInt(codec.u32.read(v, o)),
        write: (v, o, x) => codec.u32.write(v, o, Number(x)),
      };
}

/**
 * A sockhash or sockmap. Values are written as descriptors of sockets and read back as socket cookies, which the
 * kernel allows when the map's value has eight bytes.
 */
export class SockMap<K> extends TypedMap<K, bigint> {
  constructor(
    fd: number,
    codecs: { key: Codec<K>; value?: Codec<unknown> },
    options: { name?: string | undefined; pinPath?: string | undefined } = {},
  ) {
    super(fd, { key: codecs.key, value: socketValue(codecs.value?.size ?? 8) }, options);
  }

  static fromPin<K>(path: string, codecs: { key: Codec<K> }): SockMap<K> {
    return new SockMap(openPin(path, 'map'), codecs, { pinPath: path });
  }

  /**
   * Puts a socket into the map. It leaves by itself when it closes.
   * @param socketFd a TCP socket, established or listening, or a UDP socket
   */
  setFd(key: K, socketFd: number, flag: UpdateFlag = 'any'): void {
    this.set(key, BigInt(socketFd), flag);
  }

  override *keys(): Generator<K, void, void> {
    yield* this.keysOneByOne();
  }

  override *entries(): Generator<[K, bigint], void, void> {
    if (this.valueSize !== 8) {
      throw new BpfError({
        code: 'ENOTSUP',
        op: 'dump',
        target: this.target,
        detail: 'values of 4 bytes cannot be read back',
        hint: 'declare the value as __u64 to read socket cookies, or walk keys()',
      });
    }
    yield* super.entries({ batch: 0 });
  }

  override size(): number {
    let total = 0;
    for (const _key of this.keys()) total++;
    return total;
  }
}

/**
 * Per-socket storage. From user space a key is the descriptor of a socket; the kernel offers no way to walk it but
 * an iterator program (see Link.attachIter).
 */
export class SkStorageMap<V> extends TypedMap<number, V> {
  constructor(
    fd: number,
    codecs: { value: Codec<V> },
    options: { name?: string | undefined; pinPath?: string | undefined } = {},
  ) {
    super(fd, { key: codec.i32, value: codecs.value }, options);
  }

  static fromPin<V>(path: string, codecs: { value: Codec<V> }): SkStorageMap<V> {
    return new SkStorageMap(openPin(path, 'map'), codecs, { pinPath: path });
  }

  /** @throws BpfError ENOTSUP always */
  // biome-ignore lint/correctness/useYield: the signature of a walk, which never starts
  override *entries(): Generator<[number, V], void, void> {
    throw notWalkable(this);
  }

  /** @throws BpfError ENOTSUP always */
  override keys(): Generator<number, void, void> {
    throw notWalkable(this);
  }

  /** @throws BpfError ENOTSUP always */
  override size(): number {
    throw notWalkable(this);
  }
}

/** The error for a walk of a map whose entries only programs can reach. */
export function notWalkable(map: { target: string; type: string }): BpfError {
  const hint =
    map.type === 'sk_storage'
      ? 'read one socket by its descriptor, or attach an iter/bpf_sk_storage_map program to the map'
      : 'read it with RingBuffer';
  return new BpfError({
    code: 'ENOTSUP',
    op: 'dump',
    target: map.target,
    detail: `a ${map.type} map cannot be walked from user space`,
    hint,
  });
}
