import { errnoError, errnoName } from './errors.ts';
import { libbpf } from './ffi.ts';

/*
 * Walking a map. One lookup_batch call reads thousands of entries, next_key one: for 60,000 entries 11 times
 * quicker (bench/). Batches exist for hash and array since 5.6, per-CPU arrays since 5.13, not for sockhash.
 */

/** What the walk needs to know of a map. */
export interface DumpShape {
  fd: number;
  target: string;
  keySize: number;
  /** Bytes of one value as user space sees it: all CPUs' for per-CPU maps. */
  valueBytes: number;
  maxEntries: number;
}

/** Entries side by side. The buffers are used again for the next chunk. */
export interface Chunk {
  keys: DataView;
  values: DataView;
  count: number;
}

const FIRST_BATCH = 256;
const LARGEST_BATCH = 8192;
const CHUNK_BYTES = 1 << 20;
/** Times to try again at one place. */
const MOST_INTERRUPTIONS = 64;

/** Entries read in one system call when the caller does not say. */
function defaultBatch({ keySize, valueBytes }: DumpShape): number {
  return Math.max(16, Math.min(LARGEST_BATCH, Math.floor(CHUNK_BYTES / (keySize + valueBytes))));
}

/** Whether an errno says that the kernel or the map type has no batch operation. */
export function noBatch(result: number): boolean {
  const name = errnoName(result);
  return name === 'ENOTSUP' || name === 'EINVAL';
}

function chunkOf(shape: DumpShape, entries: number): Chunk {
  return {
    keys: new DataView(new ArrayBuffer(shape.keySize * entries)),
    values: new DataView(new ArrayBuffer(shape.valueBytes * entries)),
    count: 0,
  };
}

/**
 * All entries, in chunks. Entries that change meanwhile may be seen or not; none is seen twice unless it was
 * deleted and added again.
 * @param batch entries a system call; 0 for next_key, one by one
 */
export function* dump(shape: DumpShape, batch?: number): Generator<Chunk, void, void> {
  if (batch !== 0) {
    const supported = yield* dumpByBatch(shape, batch);
    if (supported) return;
  }
  yield* dumpByKey(shape);
}

function* dumpByBatch(shape: DumpShape, batch?: number): Generator<Chunk, boolean, void> {
  const largest = batch ?? defaultBatch(shape);
  let capacity = batch ?? Math.min(FIRST_BATCH, largest);
  let chunk = chunkOf(shape, capacity);
  // The kernel's cursor: a bucket number for hashes, a key for the others.
  let position = new Uint8Array(Math.max(8, shape.keySize));
  let next = new Uint8Array(position.length);
  let started = false;
  let interruptions = 0;
  const count = new Uint32Array(1);
  for (;;) {
    count[0] = capacity;
    const result = libbpf.bpf_map_lookup_batch(
      shape.fd,
      started ? position : null,
      next,
      chunk.keys,
      chunk.values,
      count,
      null,
    );
    const code = result < 0 ? errnoName(result) : undefined;
    if (code === 'ENOSPC') {
      // One hash bucket holds more than fits; nothing was consumed.
      capacity *= 2;
      chunk = chunkOf(shape, capacity);
      continue;
    }
    // EINTR: entries vanished under the kernel three times in a row (tries and arrays). What it has is good.
    const interrupted = code === 'EINTR' && interruptions < MOST_INTERRUPTIONS;
    if (code !== undefined && code !== 'ENOENT' && !interrupted) {
      if (!started && noBatch(result)) return false;
      throw errnoError(result, 'dump', shape.target);
    }
    chunk.count = count[0];
    if (chunk.count > 0) yield chunk;
    if (code === 'ENOENT') return true; // the end
    if (interrupted && chunk.count === 0) {
      interruptions++;
      continue;
    }
    interruptions = 0;
    [position, next] = [next, position];
    started = true;
    if (capacity < largest) {
      capacity = largest;
      chunk = chunkOf(shape, capacity);
    }
  }
}

/**
 * Keys one by one. When the key we stand on is deleted, a hash starts again from its first key, so keys that were
 * seen are remembered and skipped.
 */
export function* dumpKeys(shape: DumpShape): Generator<Uint8Array<ArrayBuffer>, void, void> {
  const seen = new Set<string>();
  let key: Uint8Array<ArrayBuffer> | undefined;
  // A writer that deletes our place again and again could keep us here for ever.
  for (let steps = 0; steps <= shape.maxEntries * 16; steps++) {
    const next = new Uint8Array(shape.keySize);
    const result = libbpf.bpf_map_get_next_key(shape.fd, key ?? null, next);
    if (result < 0) {
      if (errnoName(result) === 'ENOENT') return;
      throw errnoError(result, 'walk', shape.target);
    }
    const text = Buffer.from(next.buffer).toString('latin1');
    if (!seen.has(text)) {
      seen.add(text);
      yield next;
    }
    key = next;
  }
}

function* dumpByKey(shape: DumpShape): Generator<Chunk, void, void> {
  const values = new DataView(new ArrayBuffer(shape.valueBytes));
  for (const key of dumpKeys(shape)) {
    const result = libbpf.bpf_map_lookup_elem(shape.fd, key, values);
    if (result < 0) {
      if (errnoName(result) === 'ENOENT') continue; // gone since its key was read
      throw errnoError(result, 'lookup', shape.target);
    }
    yield { keys: new DataView(key.buffer), values, count: 1 };
  }
}
