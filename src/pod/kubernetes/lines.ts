import { KubeError } from './kube_error.ts';

/** etcd takes objects up to 1.5 MiB; as JSON with escapes they are larger. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/** One JSON document a line, from bytes that come in pieces of any size. */
export class JsonLines {
  readonly #target: string;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** @param target named in errors */
  constructor(target: string) {
    this.#target = target;
  }

  /**
   * The documents that this piece completes.
   *
   * @throws SHUNT_E_KUBE_ANSWER when a line is no JSON, or longer than 16 MiB
   */
  *push(chunk: Buffer): Generator<unknown, void, void> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line = Buffer.concat([...this.#pending, chunk.subarray(start, end)]).toString('utf8');
      this.#pending = [];
      this.#pendingBytes = 0;
      start = end + 1;
      if (line.trim() !== '') yield this.#parse(line);
    }
    if (start === chunk.length) return;
    this.#pending.push(chunk.subarray(start));
    this.#pendingBytes += chunk.length - start;
    if (this.#pendingBytes > MAX_LINE_BYTES)
      throw this.#wrong(`a line is longer than ${MAX_LINE_BYTES} bytes`);
  }

  /** @throws SHUNT_E_KUBE_ANSWER when the last line was not ended */
  end(): void {
    if (this.#pendingBytes > 0) throw this.#wrong('the stream ended within a line');
  }

  #parse(line: string): unknown {
    try {
      return JSON.parse(line) as unknown;
    } catch (cause) {
      throw this.#wrong(`not JSON: ${line.slice(0, 60)}`, cause);
    }
  }

  #wrong(detail: string, cause?: unknown): KubeError {
    return new KubeError('SHUNT_E_KUBE_ANSWER', detail, { target: this.#target, cause });
  }
}
