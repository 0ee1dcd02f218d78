import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ShuntError } from '../errors.ts';
import { run } from './command.ts';
import type { Host, Role } from './host.ts';
import type { Lab } from './lab.ts';
import { listening } from './listening.ts';
import { compile } from './native.ts';
import { LabProcess } from './process.ts';

const PORT = 7100;

/** A caller and a server (src/lab/native/load.c) at two hosts of a lab. */
export class Load implements AsyncDisposable {
  readonly caller: LabProcess;
  readonly server: LabProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(server: LabProcess, caller: LabProcess) {
    this.server = server;
    this.caller = caller;
    if (caller.stdout === null) throw new Error('the caller has no pipe');
    this.#lines = createInterface({ input: caller.stdout })[Symbol.asyncIterator]();
  }

  /**
   * @param options.port first of the server's four
   * @param options.role whom the server runs as
   * @param options.dial where the caller connects to, if not to the server's own address and port
   * @param options.label tells several of the same two hosts apart
   * @throws SHUNT_E_LAB_TOOL without a C compiler, SHUNT_E_LAB_PROCESS
   */
  static async start(
    lab: Lab,
    from: Host,
    to: Host,
    options: {
      port?: number;
      role?: Role;
      dial?: [string, number];
      label?: string;
      signal?: AbortSignal | undefined;
    } = {},
  ): Promise<Load> {
    const { port = PORT, role = 'app', dial = [to.address(4), port], signal } = options;
    const label = [from.name, to.name, options.label ?? port].join('-');
    const program = await compile('load', lab.programs, 'program');
    await using stack = new AsyncDisposableStack();
    const server = stack.use(
      await LabProcess.start(`load server of ${to.name}`, [program, 'serve', String(port)], {
        place: to.place(role),
        logFile: join(lab.folder, `load-${label}-server.log`),
      }),
    );
    await listening(
      server,
      [0, 1, 2, 3].map((offset) => port + offset),
      { ip6: false },
      signal,
    );
    const caller = stack.use(
      await LabProcess.start(`load caller of ${from.name}`, [program, 'call', dial[0], String(dial[1])], {
        place: from.place('app'),
        logFile: join(lab.folder, `load-${label}-caller.log`),
        pipe: true,
      }),
    );
    const pair = new Load(server, caller);
    stack.move();
    return pair;
  }

  /**
   * Has the caller do one thing.
   *
   * @param command as the head of load.c has them
   * @returns the numbers of its answer
   * @throws SHUNT_E_LAB_PROCESS when a connection broke or nothing came back
   */
  async ask(command: string): Promise<number[]> {
    this.caller.stdin?.write(`${command}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) {
      await this.caller.exited;
      this.caller.assertRunning();
      throw new ShuntError('SHUNT_E_LAB_PROCESS', `ended on "${command}"`, { target: this.caller.name });
    }
    return value.split(' ').map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.caller[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** Nanoseconds of CPU that all threads of these processes have used so far. */
export function cpuTimeNs(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    }
  }
  return sum;
}

/** Resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

/** Lets all threads of these processes run on these CPUs alone. */
export async function pin(pids: readonly number[], cpus: readonly number[]): Promise<void> {
  await Promise.all(
    pids.map((pid) => run(['taskset', '--all-tasks', '--cpu-list', '--pid', cpus.join(','), String(pid)])),
  );
}
