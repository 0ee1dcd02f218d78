import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { ShuntError } from '../errors.ts';
import { type Argv, attempt, type CommandResult } from './command.ts';
import { patient } from './deadline.ts';

/** What an emulated machine sets (vagrant/guest/run), and programs of the test bed ask for. */
const PASSED_ON = Object.fromEntries(
  ['SHUNT_LAB_PATIENCE', 'NODE_COMPILE_CACHE'].flatMap((name) =>
    process.env[name] === undefined ? [] : [[name, process.env[name]]],
  ),
);

/** Where and as whom a process runs. */
export interface Place {
  /** Path that opens a network namespace. */
  netns?: string;
  /** Absolute path of a cgroup v2 directory. */
  cgroup?: string;
  uid?: number;
  gid?: number;
}

/**
 * The command that becomes `argv` at the place, by exec all the way: the pid that is spawned is the pid of the
 * program. The order matters: cgroup and namespace need root, the uid comes last. Its end follows the end of
 * the caller, so that nothing outlives a killed demo.
 */
export function placed({ netns, cgroup, uid, gid }: Place, argv: Argv): Argv {
  const command: string[] = [];
  if (cgroup !== undefined) {
    command.push('sh', '-c', 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"', 'sh', cgroup);
  }
  if (netns !== undefined) command.push('nsenter', `--net=${netns}`);
  command.push('setpriv', '--pdeathsig=KILL');
  if (uid !== undefined) command.push(`--reuid=${uid}`, '--clear-groups');
  if (gid !== undefined) command.push(`--regid=${gid}`);
  command.push('--', ...argv);
  const [file = 'setpriv', ...args] = command;
  return [file, ...args];
}

/** Runs a program at a place to its end, whatever its exit code. */
export function attemptAt(place: Place, argv: Argv, input?: string): Promise<CommandResult> {
  return attempt(placed(place, argv), input);
}

export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A long-running process of the test bed, ended with it. */
export class LabProcess implements AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** File that takes its standard output and error. */
  readonly logFile: string;
  readonly exited: Promise<Ending>;
  /** Pipes to it; null where it was not asked for. */
  readonly stdin: ChildProcess['stdin'];
  readonly stdout: ChildProcess['stdout'];
  #ending: Ending | null = null;

  private constructor(name: string, child: ChildProcess, pid: number, logFile: string) {
    this.name = name;
    this.pid = pid;
    this.logFile = logFile;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#ending = { code, signal };
        resolve(this.#ending);
      });
    });
  }

  /**
   * @param options.pipe standard input and output become pipes; standard error still goes to the log
   * @throws SHUNT_E_LAB_PROCESS when it cannot be started
   */
  static async start(
    name: string,
    argv: Argv,
    options: { place?: Place; logFile: string; pipe?: boolean; env?: Record<string, string> },
  ): Promise<LabProcess> {
    const [file, ...args] = placed(options.place ?? {}, argv);
    const log = openSync(options.logFile, 'a', 0o644);
    const io = options.pipe === true ? ('pipe' as const) : undefined;
    // Its own session: Ctrl-C reaches only us, who end the others in order.
    const child = spawn(file, args, {
      stdio: [io ?? 'ignore', io ?? log, log],
      detached: true,
      // A directory that every uid may enter: HAProxy 3 insists on returning to where it was started.
      cwd: '/',
      env: { PATH: process.env.PATH, HOME: '/', ...PASSED_ON, ...options.env },
    });
    closeSync(log);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(
          new ShuntError('SHUNT_E_LAB_PROCESS', `could not be started: ${cause.message}`, {
            target: name,
            cause,
          }),
        ),
      );
    });
    if (child.pid === undefined) throw new ShuntError('SHUNT_E_LAB_PROCESS', 'has no pid', { target: name });
    return new LabProcess(name, child, child.pid, options.logFile);
  }

  get running(): boolean {
    return this.#ending === null;
  }

  /** @throws SHUNT_E_LAB_PROCESS with the end of its log, when it has ended */
  assertRunning(): void {
    if (this.#ending === null) return;
    const { code, signal } = this.#ending;
    const tail = readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-6).join('\n  ');
    throw new ShuntError(
      'SHUNT_E_LAB_PROCESS',
      `ended with ${signal ?? `code ${code}`}; its log ends:\n  ${tail}`,
      {
        target: this.name,
      },
    );
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) process.kill(this.pid, signal);
  }

  /** Ends it and waits for its end; SIGKILL after the grace. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 2_000): Promise<Ending> {
    this.signal(signal);
    const late = setTimeout(() => this.signal('SIGKILL'), patient(graceMs));
    try {
      return await this.exited;
    } finally {
      clearTimeout(late);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
  }
}
