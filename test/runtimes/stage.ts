/** Where a runtime plays: a pair of pods of one contender, and what was seen there. */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { killAll } from '../../src/lab/cgroup.ts';
import type { Argv, CommandResult } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { listeningPorts } from '../../src/lab/listening.ts';
import { attemptAt, LabProcess, type Place } from '../../src/lab/process.ts';
import type { Bed, Carried, Contender } from './bed.ts';

/** The server's port in its pod. */
export const PORT = 7100;
/** Longer than any step takes on a busy machine. */
const STEP_MS = 60_000;
/** A walk of promotion is at most a second away, and the next a quarter. */
const WARM_MS = 8_000;

/** What an application that opted in needs longer to be taken up. */
const FULL_MS = 2_500;

/** A case may be played again, and finds nothing of the last time. */
let opened = 0;

/** Thrown by a case for which this machine lacks something. */
export class Unavailable extends Error {}

export class Stage implements AsyncDisposable {
  readonly contender: Contender;
  readonly bed: Bed;
  /** Takes what a runtime writes; every uid may. */
  readonly folder: string;
  /** IPv4 address of the pod with the server. */
  readonly address: string;
  readonly seen: string[] = [];
  readonly #stack = new AsyncDisposableStack();
  readonly #base: Carried;
  #started = 0;

  private constructor(bed: Bed, contender: Contender, base: Carried, folder: string) {
    this.bed = bed;
    this.contender = contender;
    this.folder = folder;
    this.address = bed.pod(contender, 'server').address(4);
    this.#base = base;
  }

  static async open(bed: Bed, contender: Contender, name: string): Promise<Stage> {
    const folder = join(bed.programs, `${name.replaceAll(/\W+/g, '-')}-${contender}-${++opened}`);
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o777);
    return new Stage(bed, contender, await bed.carried(contender), folder);
  }

  /** The server, as a URL. */
  url(path: string, port = PORT): string {
    return `http://${this.address}:${port}${path}`;
  }

  place(end: 'client' | 'server'): Place {
    return this.bed.pod(this.contender, end).place('app');
  }

  /** A program in the pod of the server, until the stage is left. It listens when this returns. */
  async serve(
    argv: Argv,
    { ports = [PORT], place = {} }: { ports?: number[]; place?: Place } = {},
  ): Promise<LabProcess> {
    const process = await this.#start('server', argv, place, false);
    const ready = (): true | undefined => {
      process.assertRunning();
      const { ip4, ip6 } = listeningPorts(process.pid);
      // Of either family: Java, gRPC and others listen on IPv6 for both.
      return ports.every((port) => ip4.has(port) || ip6.has(port)) ? true : undefined;
    };
    await until(ready, { what: `${process.name} to listen`, timeoutMs: 30_000, everyMs: 50 });
    return process;
  }

  async #start(end: 'client' | 'server', argv: Argv, place: Place, pipe: boolean): Promise<LabProcess> {
    const label = `${argv[0].split('/').at(-1)} of ${this.contender}`;
    const logFile = join(this.folder, `${end}-${++this.#started}.log`);
    const options = { place: { ...this.place(end), ...place }, logFile, pipe, env: { HOME: this.folder } };
    return this.#stack.use(await LabProcess.start(label, argv, options));
  }

  /** Runs a program in the client's pod to its end, or to the end of its time. */
  run(argv: Argv, input?: string, place: Place = {}): Promise<CommandResult> {
    const timed: Argv = ['timeout', '-k', '1', String(STEP_MS / 1000), ...argv];
    return attemptAt({ ...this.place('client'), ...place }, timed, input);
  }

  /** Starts a program in the client's pod that answers every line with a line. */
  async dialogue(argv: Argv): Promise<(line: string) => Promise<string>> {
    const process = await this.#start('client', argv, {}, true);
    if (process.stdout === null) throw new Error('the client has no pipe');
    // It ended, which the next answer tells.
    process.stdin?.on('error', () => {});
    const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    return async (line) => {
      process.assertRunning();
      process.stdin?.write(`${line}\n`);
      const late = new AbortController();
      const answer = await Promise.race([
        lines.next(),
        delay(STEP_MS, undefined, { signal: late.signal }).catch(() => undefined),
      ]);
      late.abort();
      if (answer === undefined) return 'error:no-answer';
      return answer.done === true ? 'error:ended' : answer.value;
    };
  }

  /** Puts down what was seen. Digests of many connections are told as one. */
  note(what: string, seen: string): void {
    const shown =
      seen.length <= 100 ? seen : `${createHash('sha256').update(seen).digest('hex').slice(0, 16)}`;
    this.seen.push(`${what}: ${/error:/.test(seen) ? seen : shown}`);
  }

  /** What was redirected from socket to socket since the stage was entered. */
  async carried(): Promise<Carried> {
    const { messages, bytes } = await this.bed.carried(this.contender);
    return { messages: messages - this.#base.messages, bytes: bytes - this.#base.bytes };
  }

  /** Repeats a step until messages are being redirected, where they are to be; all its answers have to be one. */
  async warm(what: string, step: () => Promise<string>): Promise<void> {
    const accelerated = this.contender === 'accelerated' || this.contender === 'full';
    const endMs = performance.now() + WARM_MS;
    const answers = new Set<string>();
    for (let turn = 0; turn < 3 || (accelerated && performance.now() < endMs); turn++) {
      answers.add(await step());
      if (accelerated && turn >= 2 && (await this.carried()).messages > 0n) break;
    }
    // Applications enter after they were watched for a while (WATCH_NS of accelerate.bpf.c), and both ends of a pair at once.
    if (accelerated) {
      const settledMs = performance.now() + (this.contender === 'full' ? FULL_MS : 0);
      while (performance.now() < settledMs) answers.add(await step());
    }
    this.note(what, [...answers].join(' / '));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    // Workers of a server that was killed go on without it.
    for (const end of ['client', 'server'] as const) killAll(this.place(end).cgroup ?? '');
  }
}
