const LARGEST_BATCH = 4096;
const BUFFER_BYTES = 1 << 20;

/** Keys and values side by side, on their way to the kernel. */
export class BatchBuffer {
  readonly keys: DataView;
  readonly values: DataView;
  readonly #keyBytes: number;
  readonly #valueBytes: number;
  readonly #capacity: number;
  count = 0;

  constructor(keyBytes: number, valueBytes: number) {
    this.#keyBytes = keyBytes;
    this.#valueBytes = valueBytes;
    this.#capacity = Math.max(1, Math.min(LARGEST_BATCH, Math.floor(BUFFER_BYTES / (keyBytes + valueBytes))));
    this.keys = new DataView(new ArrayBuffer(keyBytes * this.#capacity));
    this.values = new DataView(new ArrayBuffer(valueBytes * this.#capacity));
  }

  get keyOffset(): number {
    return this.count * this.#keyBytes;
  }

  get valueOffset(): number {
    return this.count * this.#valueBytes;
  }

  /** @returns whether the buffer is full now */
  advance(): boolean {
    return ++this.count === this.#capacity;
  }

  reset(): void {
    this.count = 0;
  }

  keyAt(index: number): Uint8Array {
    return new Uint8Array(this.keys.buffer, index * this.#keyBytes, this.#keyBytes);
  }

  keysFrom(index: number): Uint8Array {
    return new Uint8Array(this.keys.buffer, index * this.#keyBytes);
  }

  valueAt(index: number): Uint8Array {
    return new Uint8Array(this.values.buffer, index * this.#valueBytes, this.#valueBytes);
  }
}
