import { closeSync, existsSync, openSync, readSync, truncateSync } from 'node:fs';
import { until } from './deadline.ts';

export type Direction = 'outbound' | 'inbound';

/** What a sidecar says of one connection that it accepted. Addresses are `ip:port`, IPv6 in brackets. */
export interface AccessRecord {
  direction: Direction;
  /** Who connected, as accept(2) told the sidecar. */
  peer: string;
  /** The restored original destination (SO_ORIGINAL_DST). */
  originalDst: string;
  /** Where it connected in turn; null when it did not. */
  upstream: string | null;
  /** Its own end of that connection. */
  source: string | null;
  receivedBytes: number;
  sentBytes: number;
  /** The proxy's own word on how the connection ended. */
  flags: string;
}

/** A sidecar's access log, read as it grows. It survives restarts of the sidecar. */
export class AccessLog {
  readonly path: string;
  readonly #parse: (line: string) => AccessRecord | null;
  readonly #records: AccessRecord[] = [];
  #offset = 0;
  #rest = '';

  /** @param parse null for a line that is no access record */
  constructor(path: string, parse: (line: string) => AccessRecord | null) {
    this.path = path;
    this.#parse = parse;
  }

  /** Every record so far. */
  records(): readonly AccessRecord[] {
    if (!existsSync(this.path)) return this.#records;
    const file = openSync(this.path, 'r');
    try {
      const buffer = Buffer.alloc(65_536);
      for (;;) {
        const read = readSync(file, buffer, 0, buffer.length, this.#offset);
        if (read === 0) break;
        this.#offset += read;
        this.#rest += buffer.toString('utf8', 0, read);
      }
    } finally {
      closeSync(file);
    }
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const record = this.#parse(line);
      if (record !== null) this.#records.push(record);
    }
    return this.#records;
  }

  /**
   * Takes in what is there and empties the file, between two lives of the sidecar: HAProxy (seen with 2.6) truncates
   * a file that it finds as its standard output.
   */
  startOver(): void {
    this.records();
    truncateSync(this.path);
    this.#offset = 0;
    this.#rest = '';
  }

  /** Records from the `mark`th on: ports come round again, so an old record must not answer for a new connection. */
  since(mark: number): readonly AccessRecord[] {
    return this.records().slice(mark);
  }

  /**
   * The first record of a direction from the `mark`th on.
   *
   * @throws SHUNT_E_LAB_TIMEOUT
   */
  async next(direction: Direction, mark: number, signal?: AbortSignal): Promise<AccessRecord> {
    return until(() => this.since(mark).find((record) => record.direction === direction), {
      what: `an ${direction} record in ${this.path}`,
      timeoutMs: 5_000,
      signal,
    });
  }

  /**
   * The record of the connection from this peer; the proxies write it when the connection ends.
   *
   * @throws SHUNT_E_LAB_TIMEOUT
   */
  async from(peer: string, mark = 0, signal?: AbortSignal): Promise<AccessRecord> {
    return until(() => this.since(mark).find((record) => record.peer === peer), {
      what: `an access record of ${peer} in ${this.path}`,
      timeoutMs: 5_000,
      signal,
    });
  }
}
