import { closeSync } from 'node:fs';
import type { Codec } from './codec.ts';
import { BpfError, check, errnoError, errnoName } from './errors.ts';
import { duplicateFd, lastErrno, libc, viewOf, watchReadable } from './ffi.ts';
import { hintFor } from './hints.ts';
import { openPin } from './kernel_object.ts';
import { KernelMap } from './map.ts';

/*
 * The ring is read where it lies. libbpf's ring_buffer calls back for each record, and to look at a record from a
 * callback costs 2 us through an FFI; two mappings and a DataView cost 20 to 25 ns (docs/ffi.md). Layout:
 * kernel/bpf/ringbuf.c and Documentation/bpf/ringbuf.rst - a writable page with the consumer's position, a page with
 * the producer's, then the data twice in a row, so that a record that wraps reads straight on.
 */

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const HEADER_BYTES = 8;
const BUSY_BIT = 0x8000_0000;
const DISCARD_BIT = 0x4000_0000;
const LENGTH_MASK = 0x3fff_ffff;
/** Records between two stores of our position: the space is free again soon, and the store costs little. */
const PUBLISH_EVERY = 64;
/** Events handed over by the iterator before it looks at the signal again. */
const ITERATE_AT_ONCE = 1024;

/** A ring buffer map (kernel 5.8); `open` it to read. */
export class RingBufferMap extends KernelMap {
  static fromPin(path: string): RingBufferMap {
    return new RingBufferMap(openPin(path, 'map'), { pinPath: path });
  }

  /** Starts reading. There must be one reader a ring: it owns the consumer's position. */
  open<T>(codec: Codec<T>): RingBuffer<T> {
    return new RingBuffer(this, codec);
  }
}

export interface RingBufferStats {
  /** Events given to the reader. */
  received: number;
  /** Records that the program reserved and then discarded. */
  discarded: number;
  /** Records shorter than the codec's type or not decodable. */
  malformed: number;
  /** Bytes waiting now. */
  backlogBytes: number;
  /** Most bytes ever found waiting. Near `capacityBytes` means that the program may have found the ring full. */
  highWaterBytes: number;
  capacityBytes: number;
}

/**
 * Reads a ring buffer. The kernel tells nobody of records that found no room: count failed bpf_ringbuf_reserve()
 * calls in the program; {@link stats} shows how near to full the ring has been.
 */
export class RingBuffer<T> implements Disposable {
  readonly #target: string;
  readonly #capacity: number;
  /** Our own descriptor: closing the map must not take the wake-up away. */
  readonly #fd: number;
  readonly #codec: Codec<T>;
  readonly #mask: number;
  #mappings: { address: bigint; length: number }[] = [];
  #consumer: BigInt64Array;
  #producer: BigInt64Array;
  #headers: Int32Array;
  #data: DataView;
  #position: number;
  #draining = false;
  #closed = false;
  #wake: (() => void) | undefined;
  #received = 0;
  #discarded = 0;
  #malformed = 0;
  #highWater = 0;

  constructor(map: KernelMap, codec: Codec<T>) {
    this.#target = map.target;
    this.#codec = codec;
    this.#capacity = map.maxEntries;
    this.#mask = map.maxEntries - 1; // maxEntries of a ring are bytes, a power of two
    this.#fd = check(duplicateFd(map.fd), 'open', map.target);
    const page = libc.getpagesize();
    const dataBytes = map.maxEntries * 2;
    const consumer = this.#mapRing(page, PROT_READ | PROT_WRITE, 0);
    const producer = this.#mapRing(page + dataBytes, PROT_READ, page);
    this.#consumer = new BigInt64Array(consumer, 0, 1);
    this.#producer = new BigInt64Array(producer, 0, 1);
    this.#headers = new Int32Array(producer, page, dataBytes / 4);
    this.#data = new DataView(producer, page, dataBytes);
    this.#position = Number(Atomics.load(this.#consumer, 0));
  }

  #mapRing(length: number, protection: number, offset: number): ArrayBuffer {
    const address = libc.mmap(null, length, protection, MAP_SHARED, this.#fd, offset);
    if (address === null || BigInt.asIntN(64, address) === -1n) {
      const errno = lastErrno();
      this.#release();
      throw errnoError(errno, 'map', this.#target, { hint: hintFor('load', errnoName(errno)) });
    }
    this.#mappings.push({ address, length });
    return viewOf(address, length);
  }

  /**
   * Gives every waiting event to `callback`, at most `limit`, and frees its space.
   * Does not wait. When `callback` throws, the event it was given counts as read.
   * @returns how many events there were
   */
  drain(callback: (event: T) => void, limit = Number.POSITIVE_INFINITY): number {
    if (this.#closed) throw this.#closedError();
    if (this.#draining) return 0; // a callback that drains again would read its own event twice
    this.#draining = true;
    let given = 0;
    try {
      while (given < limit && !this.#closed) {
        const end = Number(Atomics.load(this.#producer, 0));
        if (end - this.#position > this.#highWater) this.#highWater = end - this.#position;
        if (this.#position >= end) break;
        while (this.#position < end && given < limit && !this.#closed) {
          const at = this.#position & this.#mask;
          const header = Atomics.load(this.#headers, at >> 2) >>> 0;
          if (header >= BUSY_BIT) return given; // reserved, not yet submitted; those behind it have to wait
          const length = header & LENGTH_MASK;
          this.#position += (length + HEADER_BYTES + 7) & ~7;
          if ((header & DISCARD_BIT) !== 0) {
            this.#discarded++;
            continue;
          }
          const event = this.#decode(at + HEADER_BYTES, length);
          if (event === undefined) continue;
          given++;
          this.#received++;
          if (given % PUBLISH_EVERY === 0) this.#publish();
          callback(event.value);
        }
        this.#publish();
      }
      return given;
    } finally {
      this.#publish();
      this.#draining = false;
      if (this.#closed) this.#release();
    }
  }

  #publish(): void {
    Atomics.store(this.#consumer, 0, BigInt(this.#position));
  }

  /** One bad record must not end the reader: it is counted. */
  #decode(offset: number, length: number): { value: T } | undefined {
    if (length >= this.#codec.size) {
      try {
        return { value: this.#codec.read(this.#data, offset) };
      } catch (error) {
        if (!(error instanceof BpfError)) throw error;
      }
    }
    this.#malformed++;
    return undefined;
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    return this.events();
  }

  /**
   * Events as they come, until the signal aborts or the ring is closed. Waiting costs no thread and no timer: the
   * event loop's own epoll watches the map.
   */
  async *events(options: { signal?: AbortSignal } = {}): AsyncGenerator<T, void, void> {
    const { signal } = options;
    while (!this.#closed && signal?.aborted !== true) {
      const batch: T[] = [];
      this.drain((event) => batch.push(event), ITERATE_AT_ONCE);
      if (batch.length === 0) await this.#readable(signal);
      else yield* batch;
    }
  }

  #readable(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        watch.stop();
        signal?.removeEventListener('abort', done);
        this.#wake = undefined;
        resolve();
      };
      const watch = watchReadable(this.#fd, done);
      signal?.addEventListener('abort', done, { once: true });
      this.#wake = done;
    });
  }

  stats(): RingBufferStats {
    return {
      received: this.#received,
      discarded: this.#discarded,
      malformed: this.#malformed,
      backlogBytes: this.#closed ? 0 : Number(Atomics.load(this.#producer, 0)) - this.#position,
      highWaterBytes: this.#highWater,
      capacityBytes: this.#capacity,
    };
  }

  /** Stops reading and ends iterators. What is not read stays in the ring for the next reader. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake?.();
    if (!this.#draining) this.#release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Gives mappings and descriptor back. */
  #release(): void {
    // Views first: a stray read of unmapped memory would kill the process.
    const empty = new ArrayBuffer(8);
    this.#consumer = new BigInt64Array(empty);
    this.#producer = this.#consumer;
    this.#headers = new Int32Array(empty);
    this.#data = new DataView(empty);
    for (const { address, length } of this.#mappings) libc.munmap(address, length);
    this.#mappings = [];
    closeSync(this.#fd);
  }

  #closedError(): BpfError {
    return new BpfError({ code: 'CLOSED', op: 'drain', target: this.#target, detail: 'it was closed' });
  }
}
