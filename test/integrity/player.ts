/** integrity.c at work between two pods: scenarios in, observations of both ends out. */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from '../../src/lab/command.ts';
import { patient } from '../../src/lab/deadline.ts';
import type { Host } from '../../src/lab/host.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { listening } from '../../src/lab/listening.ts';
import { LabProcess } from '../../src/lab/process.ts';

const PORT = 7100;
/** Longer than the program itself waits for a byte (hang_ms), and than its longest scenario. */
const DEADLINE_MS = patient(90_000);

export interface Part {
  scenario: string;
  /** Connections at once. */
  count: number;
}

/** What the ends of connections saw: `exchange client: ok` -> how many connections. */
export type Observations = Map<string, number>;

/** A server in one pod and callers in another, for any number of plays. */
export class Player implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #from: Host;
  readonly #address: string;
  readonly #program: string;
  readonly #server: LabProcess;
  readonly #reports = new Set<(line: string) => void>();
  #next = 0;

  private constructor(lab: Lab, from: Host, to: Host, program: string, server: LabProcess) {
    this.#lab = lab;
    this.#from = from;
    this.#address = to.address(4);
    this.#program = program;
    this.#server = server;
    if (server.stdout === null) throw new Error('the server has no pipe');
    createInterface({ input: server.stdout }).on('line', (line) => {
      for (const report of this.#reports) report(line);
    });
  }

  static async start(lab: Lab, from: Host, to: Host): Promise<Player> {
    mkdirSync(lab.programs, { recursive: true, mode: 0o755 });
    const program = join(lab.programs, 'integrity');
    const source = join(import.meta.dirname, 'native', 'integrity.c');
    await run(['clang', '-O2', '-Wall', '-Werror', '-pthread', '-o', program, source]);
    const server = await LabProcess.start('integrity server', [program, 'serve', String(PORT)], {
      place: to.place('app'),
      logFile: join(lab.folder, 'integrity-server.log'),
      pipe: true,
    });
    await listening(server, [PORT], { ip6: false });
    return new Player(lab, from, to, program, server);
  }

  /**
   * Plays all parts at the same time, until both ends of every connection have told what they saw.
   *
   * @param seed decides sizes and bytes
   * @param cuts connections may end early, before one end even knew of the other: then only callers are waited for
   */
  async play(parts: readonly Part[], seed: number, { cuts = false } = {}): Promise<Observations> {
    const first = this.#next;
    const total = parts.reduce((sum, { count }) => sum + count, 0);
    this.#next += total;
    const seen: Observations = new Map();
    const left = { client: total, server: total };
    const all = Promise.withResolvers<void>();
    const note = (side: 'client' | 'server', line: string): void => {
      const [scenario, index, ...observation] = line.split(' ');
      if (Number(index) < first || Number(index) >= first + total) return;
      const what = `${scenario} ${side}: ${observation.join(' ')}`;
      seen.set(what, (seen.get(what) ?? 0) + 1);
      left[side]--;
      if (left.client === 0 && (cuts || left.server === 0)) all.resolve();
    };
    const report = (line: string): void => note('server', line);
    this.#reports.add(report);
    const argv = [this.#program, 'call', this.#address, String(PORT)] as const;
    await using caller = await LabProcess.start('integrity caller', argv, {
      place: this.#from.place('app'),
      logFile: join(this.#lab.folder, 'integrity-caller.log'),
      pipe: true,
    });
    if (caller.stdout === null) throw new Error('the caller has no pipe');
    createInterface({ input: caller.stdout }).on('line', (line) => note('client', line));
    let index = first;
    for (const { scenario, count } of parts) {
      caller.stdin?.write(`${scenario} ${seed} ${index} ${count}\n`);
      index += count;
    }
    const late = setTimeout(() => {
      for (const side of ['client', 'server'] as const) {
        if (left[side] > 0) seen.set(`${side}: told nothing`, left[side]);
      }
      all.resolve();
    }, DEADLINE_MS);
    const died = caller.exited.then(() => caller.assertRunning());
    await Promise.race([all.promise, died]);
    clearTimeout(late);
    this.#reports.delete(report);
    this.#server.assertRunning();
    return seen;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}

/** A number from text, so that a failed run can be played again by naming it. */
export function seedOf(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE();
}
