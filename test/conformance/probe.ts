/** probe.c at work: servers that tell what they see, and one process a namespace that opens connections on request. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from '../../src/lab/command.ts';
import { LabProcess, type Place } from '../../src/lab/process.ts';

/** What both ends saw. An end that there was not is null. */
export interface Seen {
  /** Name of the server and the port it listens on, or why nobody answered: `ECONNREFUSED`. */
  landing: string;
  /** getsockname() and getpeername() of whoever connected. */
  local: string | null;
  peer: string | null;
  /** SO_ORIGINAL_DST, getsockname() and the peer of whoever accepted. */
  original: string | null;
  acceptedOn: string | null;
  acceptedFrom: string | null;
}

export interface Connect {
  cgroup: string;
  uid: number;
  gid: number;
  source: string | null;
  host: string;
  port: number;
}

/** @returns path of the program */
export async function compileProbe(folder: string): Promise<string> {
  const program = join(folder, 'probe');
  const source = join(import.meta.dirname, 'probe.c');
  await run(['clang', '-O2', '-Wall', '-Werror', '-o', program, source]);
  return program;
}

/** @param where `any:8080`, `localhost:4140` */
export async function serve(
  program: string,
  name: string,
  where: readonly string[],
  { place, logFile }: { place: Place; logFile: string },
): Promise<LabProcess> {
  const server = await LabProcess.start(name, [program, 'serve', name, ...where], {
    place,
    logFile,
    pipe: true,
  });
  await firstLine(server);
  return server;
}

/** Opens connections from one network namespace, several at once. */
export class Connector implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #waiting = new Map<string, (words: string[]) => void>();
  #serial = 0;

  private constructor(process: LabProcess) {
    this.#process = process;
    if (process.stdout === null) throw new Error('the connector has no standard output');
    createInterface(process.stdout).on('line', (line) => {
      const [id = '', ...words] = line.trim().split(' ');
      this.#waiting.get(id)?.(words);
      this.#waiting.delete(id);
    });
  }

  static async start(program: string, netns: string, logFile: string): Promise<Connector> {
    const process = await LabProcess.start('connect', [program, 'connect'], {
      place: { netns },
      logFile,
      pipe: true,
    });
    return new Connector(process);
  }

  async connect({ cgroup, uid, gid, source, host, port }: Connect): Promise<Seen> {
    this.#process.assertRunning();
    const id = String(this.#serial++);
    const { promise, resolve } = Promise.withResolvers<string[]>();
    this.#waiting.set(id, resolve);
    this.#process.stdin?.write(`${id} ${cgroup} ${uid} ${gid} ${source ?? '-'} ${host} ${port}\n`);
    return seen(await Promise.race([promise, this.#ended()]));
  }

  async #ended(): Promise<never> {
    await this.#process.exited;
    this.#process.assertRunning();
    throw new Error('the connector ended');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

function seen([outcome = '', local, peer, name, port, original, acceptedOn, acceptedFrom]: string[]): Seen {
  if (outcome !== 'connected') {
    return {
      landing: outcome,
      local: null,
      peer: null,
      original: null,
      acceptedOn: null,
      acceptedFrom: null,
    };
  }
  return {
    landing: name === undefined ? 'no answer' : `${name}:${port}`,
    local: local ?? null,
    peer: peer ?? null,
    original: original ?? null,
    acceptedOn: acceptedOn ?? null,
    acceptedFrom: acceptedFrom ?? null,
  };
}

async function firstLine(process: LabProcess): Promise<void> {
  const { stdout } = process;
  if (stdout === null) throw new Error(`${process.name} has no standard output`);
  const line = new Promise<void>((resolve) => stdout.once('data', () => resolve()));
  await Promise.race([line, process.exited]);
  process.assertRunning();
}
