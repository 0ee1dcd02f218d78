/** How long programs take that are run as a container runtime runs CNI plugins: by a small process, not by Node. */
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { ShuntError } from '../errors.ts';
import { compile } from './native.ts';
import { LabProcess } from './process.ts';

export class TimedExec implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #stdin: Writable;
  readonly #answers: AsyncIterator<Buffer>;
  #rest = Buffer.alloc(0);

  private constructor(process: LabProcess, stdin: Writable, stdout: Readable) {
    this.#process = process;
    this.#stdin = stdin;
    this.#answers = stdout[Symbol.asyncIterator]();
  }

  /**
   * @param folder for its program and its log
   * @throws SHUNT_E_LAB_TOOL, SHUNT_E_LAB_COMMAND, SHUNT_E_LAB_PROCESS
   */
  static async start(folder: string): Promise<TimedExec> {
    const program = await compile('timed_exec', folder, 'program');
    const logFile = join(folder, 'timed_exec.log');
    const running = await LabProcess.start('timed_exec', [program], { logFile, pipe: true });
    const { stdin, stdout } = running;
    if (stdin === null || stdout === null) throw new ShuntError('SHUNT_E_INTERNAL');
    return new TimedExec(running, stdin, stdout);
  }

  /**
   * Runs a program to its end, one at a time.
   *
   * @param file absolute path
   * @param env the whole of its environment
   * @param input up to 64 KiB
   * @returns milliseconds, from its start to its end
   * @throws SHUNT_E_LAB_COMMAND with what it wrote, when its exit code is not 0
   */
  async run(file: string, env: Readonly<Record<string, string>> = {}, input = ''): Promise<number> {
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}\n`);
    const bytes = Buffer.byteLength(input);
    this.#stdin.write(`${variables.length} ${bytes} ${file}\n${variables.join('')}${input}`);
    const head = await this.#take((buffer) => buffer.indexOf('\n') + 1 || null);
    const [ns = Number.NaN, code = Number.NaN, written = 0] = head.toString().split(' ').map(Number);
    const output = await this.#take((buffer) => (buffer.length >= written ? written : null));
    if (code !== 0)
      throw new ShuntError('SHUNT_E_LAB_COMMAND', `exit code ${code}: ${output}`, { target: file });
    return ns / 1e6;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  /** @param whole how many bytes there are to be taken; null as long as some are missing */
  async #take(whole: (buffer: Buffer) => number | null): Promise<Buffer> {
    for (;;) {
      const bytes = whole(this.#rest);
      if (bytes !== null) {
        const taken = this.#rest.subarray(0, bytes);
        this.#rest = this.#rest.subarray(bytes);
        return taken;
      }
      const next = await this.#answers.next();
      if (next.done === true) {
        await this.#process.exited;
        this.#process.assertRunning();
      }
      this.#rest = Buffer.concat([this.#rest, next.value]);
    }
  }
}
