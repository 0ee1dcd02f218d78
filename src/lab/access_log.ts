import { closeSync, existsSync, openSync, readSync } from 'node:fs';
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

  /** The record of the connection from this peer; the proxies write it when the connection ends. */
  async from(peer: string, signal?: AbortSignal): Promise<AccessRecord> {
    return until(() => this.records().findLast((record) => record.peer === peer), {
      what: `an access record of ${peer} in ${this.path}`,
      timeoutMs: 5_000,
      signal,
    });
  }
}
