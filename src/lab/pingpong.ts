import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ShuntError } from '../errors.ts';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';
import { listening } from './listening.ts';
import { compile } from './native.ts';
import { LabProcess } from './process.ts';

const PORT = 7000;

/** A server and a caller (src/lab/native/pingpong.c) with one connection between them that stays open. */
export class Pingpong implements AsyncDisposable {
  readonly caller: LabProcess;
  readonly server: LabProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(server: LabProcess, caller: LabProcess) {
    this.server = server;
    this.caller = caller;
    if (caller.stdout === null) throw new Error('the caller has no pipe');
    this.#lines = createInterface({ input: caller.stdout })[Symbol.asyncIterator]();
  }

  /** @throws SHUNT_E_LAB_TOOL without a C compiler, SHUNT_E_LAB_PROCESS */
  static async start(lab: Lab, from: Host, to: Host, signal?: AbortSignal): Promise<Pingpong> {
    const program = await compile('pingpong', lab.programs, 'program');
    const label = `${from.name}-${to.name}`;
    await using stack = new AsyncDisposableStack();
    const server = stack.use(
      await LabProcess.start(`pingpong server of ${to.name}`, [program, 'serve', String(PORT)], {
        place: to.place('app'),
        logFile: join(lab.folder, `pingpong-${label}-server.log`),
      }),
    );
    await listening(server, [PORT], { ip6: false }, signal);
    const caller = stack.use(
      await LabProcess.start(
        `pingpong caller of ${from.name}`,
        [program, 'call', to.address(4), String(PORT)],
        {
          place: from.place('app'),
          logFile: join(lab.folder, `pingpong-${label}-caller.log`),
          pipe: true,
        },
      ),
    );
    const pair = new Pingpong(server, caller);
    stack.move();
    return pair;
  }

  /**
   * Makes round trips one after another.
   *
   * @param bytes of the request, and of the answer; at most 65,536
   * @returns times in microseconds
   * @throws SHUNT_E_LAB_PROCESS when the connection broke
   */
  async measure(bytes: number, count: number): Promise<number[]> {
    this.caller.stdin?.write(`${bytes} ${count}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) {
      await this.caller.exited;
      this.caller.assertRunning();
      throw new ShuntError('SHUNT_E_LAB_PROCESS', undefined, { target: this.caller.name });
    }
    return value.split(' ').map((ns) => Number(ns) / 1000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.caller[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}
