import { createInterface } from 'node:readline';
import * as v from 'valibot';
import { ShuntError } from '../errors.ts';
import type { Argv } from './command.ts';
import { LabProcess, type Place } from './process.ts';

const WHO = v.object({ name: v.string(), peer: v.string(), local: v.string() });
const CONNECTED = v.object({ local: v.string(), remote: v.string() });
const TALLIES = v.object({
  targets: v.array(
    v.object({
      host: v.string(),
      port: v.number(),
      requests: v.number(),
      connections: v.number(),
      failures: v.array(v.string()),
      direct: v.array(v.string()),
      seen: v.array(v.string()),
      peernames: v.array(v.string()),
    }),
  ),
});
const ANSWER = v.looseObject({
  id: v.optional(v.number()),
  ok: v.optional(v.boolean()),
  error: v.optional(v.string()),
});

/** What a server says of itself and of its end of the connection. */
export type Who = v.InferOutput<typeof WHO>;
/** What a soak saw of one target: see src/lab/peer/client.ts. */
export type TargetTally = v.InferOutput<typeof TALLIES>['targets'][number];

export interface Target {
  host: string;
  port: number;
}

/** A request that failed at the client, with the errno name: ECONNREFUSED, ECONNRESET, `no answer`. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
}

/** A client process of the bed, told over its standard input what to do. */
export class Client implements AsyncDisposable {
  readonly process: LabProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (answer: unknown) => void; reject: (error: Error) => void }
  >();
  #nextId = 1;
  #nextConnection = 1;

  private constructor(process: LabProcess) {
    this.process = process;
    if (process.stdout !== null) {
      createInterface({ input: process.stdout }).on('line', (line) => this.#settle(line));
    }
    void process.exited.then(() => {
      for (const { reject } of this.#waiting.values()) {
        reject(new ShuntError('SHUNT_E_LAB_PROCESS', undefined, { target: process.name }));
      }
    });
  }

  static async start(name: string, argv: Argv, options: { place: Place; logFile: string }): Promise<Client> {
    return new Client(await LabProcess.start(name, argv, { ...options, pipe: true }));
  }

  #settle(line: string): void {
    const answer = v.parse(ANSWER, JSON.parse(line));
    if (answer.id === undefined) return;
    const waiter = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.ok === true) waiter?.resolve(answer);
    else waiter?.reject(new ClientError(answer.error ?? 'unknown error'));
  }

  async #ask(command: object): Promise<unknown> {
    this.process.assertRunning();
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.process.stdin?.write(`${JSON.stringify({ id, ...command })}\n`);
    return answer;
  }

  /** Opens a connection. @throws ClientError with the errno name */
  async connect(target: Target): Promise<Connection> {
    const conn = `c${this.#nextConnection++}`;
    const { local, remote } = v.parse(CONNECTED, await this.#ask({ do: 'connect', conn, ...target }));
    return new Connection((command) => this.#ask({ conn, ...command }), local, remote);
  }

  /** Starts making requests to each target, on one connection that stays and on ever new ones, until halted. */
  async soak(targets: Target[], everyMs: number): Promise<void> {
    await this.#ask({ do: 'soak', targets, everyMs });
  }

  /** What was seen so far, in the targets' order, once that many more new connections were tried. */
  async tally(connections: number): Promise<TargetTally[]> {
    return v.parse(TALLIES, await this.#ask({ do: 'tally', connections })).targets;
  }

  async halt(): Promise<TargetTally[]> {
    return v.parse(TALLIES, await this.#ask({ do: 'halt' })).targets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}

/** An open connection of a client. */
export class Connection implements AsyncDisposable {
  /** getsockname(2) at the client. */
  readonly local: string;
  /** getpeername(2) at the client. */
  readonly remote: string;
  readonly #ask: (command: object) => Promise<unknown>;
  #open = true;

  constructor(ask: (command: object) => Promise<unknown>, local: string, remote: string) {
    this.#ask = ask;
    this.local = local;
    this.remote = remote;
  }

  async who(): Promise<Who> {
    return v.parse(WHO, await this.#ask({ do: 'who' }));
  }

  /** Sends requests of `bytes` and has each echoed; the answers are compared byte by byte. */
  async exchange(requests: number, bytes: number): Promise<void> {
    await this.#ask({ do: 'exchange', requests, bytes });
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#ask({ do: 'close' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
