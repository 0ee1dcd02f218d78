/** A process of native/puppet.c, told over its standard input what to do with sockets. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as v from 'valibot';
import { run } from '../../src/lab/command.ts';
import { patient } from '../../src/lab/deadline.ts';
import { LabProcess, type Place } from '../../src/lab/process.ts';

const scalar = v.union([v.string(), v.number(), v.boolean()]);
const reply = v.record(v.string(), v.union([scalar, v.record(v.string(), scalar)]));

/** What one call gave: `result` is `ok` or the name of an error. */
export type Reply = v.InferOutput<typeof reply>;
export type Word = string | number;

export interface Listening {
  family: 4 | 6;
  host: string;
  port: number;
  protocol?: 'tcp' | 'mptcp';
  /** Of IPv6 sockets v6only is one unless told otherwise. */
  options?: Record<string, number>;
  backlog?: number;
}

/** No call takes as long: whoever waits longer hangs. */
const CALL_LIMIT_MS = patient(120_000);
const NATIVE = join(import.meta.dirname, 'native');

/** @returns path of the program */
export async function compilePuppet(folder: string): Promise<string> {
  const program = join(folder, 'puppet');
  const sources = readdirSync(NATIVE).filter((name) => name.endsWith('.c'));
  const files = sources.sort().map((name) => join(NATIVE, name));
  await run(['clang', '-O2', '-Wall', '-Werror', '-pthread', '-o', program, ...files]);
  return program;
}

export class Puppet implements AsyncDisposable {
  readonly name: string;
  readonly #process: LabProcess;
  readonly #replies: AsyncIterator<string>;
  readonly #record: (call: string, words: readonly Word[], reply: Reply) => void;

  private constructor(name: string, process: LabProcess, record: Puppet['record']) {
    if (process.stdout === null) throw new Error(`${name} has no standard output`);
    this.name = name;
    this.#process = process;
    this.#replies = createInterface(process.stdout)[Symbol.asyncIterator]();
    this.#record = record;
  }

  /** @param record is told of every call that is not quiet */
  static async start(
    name: string,
    program: string,
    { place, logFile, record = () => {} }: { place: Place; logFile: string; record?: Puppet['record'] },
  ): Promise<Puppet> {
    const process = await LabProcess.start(name, [program], { place, logFile, pipe: true });
    return new Puppet(name, process, record);
  }

  get record(): (call: string, words: readonly Word[], reply: Reply) => void {
    return this.#record;
  }

  /** Makes a call, and has it recorded as part of what the item observes. */
  async see(call: string, ...words: Word[]): Promise<Reply> {
    const answer = await this.quietly(call, ...words);
    this.#record(call, words, answer);
    return answer;
  }

  /** Makes a call that is not recorded. */
  async quietly(call: string, ...words: Word[]): Promise<Reply> {
    this.#process.assertRunning();
    this.#process.stdin?.write(`${[call, ...words].join(' ')}\n`);
    const limit = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => limit.reject(new Error(`${this.name} does not return from ${[call, ...words].join(' ')}`)),
      CALL_LIMIT_MS,
    );
    try {
      const { value, done } = await Promise.race([this.#replies.next(), limit.promise]);
      if (done !== true) return v.parse(reply, JSON.parse(value));
    } finally {
      clearTimeout(timer);
    }
    await this.#process.exited;
    this.#process.assertRunning();
    throw new Error(`${this.name} said nothing to ${call}`);
  }

  /**
   * Makes a call that has to succeed, unrecorded.
   *
   * @returns the descriptor that it gave, -1 for a call that gives none
   */
  async must(call: string, ...words: Word[]): Promise<number> {
    const answer = await this.quietly(call, ...words);
    if (answer.result !== 'ok') {
      throw new Error(`${this.name}: ${[call, ...words].join(' ')}: ${JSON.stringify(answer)}`);
    }
    return typeof answer.fd === 'number' ? answer.fd : -1;
  }

  /** A new socket's descriptor. */
  socket(
    family: 4 | 6 | 'unix',
    type: 'stream' | 'datagram' = 'stream',
    protocol: 'tcp' | 'mptcp' | 'default' = 'default',
  ): Promise<number> {
    const domain = family === 'unix' ? 'unix' : family === 4 ? 'inet' : 'inet6';
    return this.must('socket', domain, type, protocol);
  }

  /**
   * A listening socket.
   *
   * @param where.options set before bind(): `{ 'reuse-port': 1 }`
   */
  async listen(where: Listening): Promise<number> {
    const { family, host, port, protocol = 'tcp', options = {}, backlog = 4096 } = where;
    const fd = await this.socket(family, 'stream', protocol);
    const all = { 'reuse-address': 1, ...(family === 6 ? { v6only: 1 } : {}), ...options };
    for (const [option, value] of Object.entries(all)) await this.must('set', fd, option, value);
    await this.must('bind', fd, host, port);
    await this.must('listen', fd, backlog);
    return fd;
  }

  /** Listens, and serves in the background: see native/server.c. */
  async serve({
    name,
    brief = false,
    ...where
  }: Listening & { name: string; brief?: boolean }): Promise<number> {
    const fd = await this.listen(where);
    await this.must('serve', fd, name, ...(brief ? ['brief'] : []));
    return fd;
  }

  /** Ends the process; its sockets are closed when this returns. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
