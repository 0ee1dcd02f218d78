/** A lab with two pods, and agents that are started, killed and refused on it. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PodReport, StatusReport } from '../../src/agent/api.ts';
import { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { type Argv, attempt, type CommandResult } from '../../src/lab/command.ts';
import { patient, until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { Lab, type PodOptions } from '../../src/lab/lab.ts';
import { LabProcess } from '../../src/lab/process.ts';
import type { SidecarKind } from '../../src/lab/sidecar.ts';
import { pinFolder, type TestBpffs } from '../fixtures/bpffs.ts';

const ROOT = join(import.meta.dirname, '../..');
/** In an emulated machine the bundle: it loads in a fraction of the time that the sources take there. */
const CLI =
  patient(1) > 1
    ? ([process.execPath, join(ROOT, 'dist/main.js')] as const)
    : ([process.execPath, '--conditions=source', join(ROOT, 'src/cli/main.ts')] as const);

const USUAL: readonly PodOptions[] = ['a', 'b'].map((name) => ({ name, capture: 'shunt' }));

export interface LogLine {
  event?: string;
  [field: string]: unknown;
}

/** What a next agent finds in force: every node-wide attachment, and one of its own for each of the two pods. */
export const ADOPTED = { links: 16 + 2, pods: 2 };

export class FaultBed implements AsyncDisposable {
  readonly lab: Lab;
  readonly bpffs: string;
  readonly socket: string;
  readonly client: AgentClient;
  readonly #program: Argv;
  readonly #pins: TestBpffs;
  #agent: LabProcess | null = null;

  private constructor(lab: Lab, pins: TestBpffs, program: Argv) {
    this.lab = lab;
    this.#program = program;
    this.#pins = pins;
    this.bpffs = pins.path;
    this.socket = join(lab.folder, 'agent.sock');
    this.client = new AgentClient(this.socket, { timeoutMs: patient(10_000) });
  }

  /**
   * @param options.program command line of the CLI: another build of it than this one
   * @param options.pods others than the usual two, which run no applications then
   */
  static async open(
    name: string,
    options: { program?: Argv; sidecar?: SidecarKind; pods?: readonly PodOptions[] } = {},
  ): Promise<FaultBed> {
    const { program = CLI, sidecar = 'haproxy', pods = USUAL } = options;
    const prefix = `shunt-${name}${process.pid}`;
    using stack = new DisposableStack();
    const pins = stack.use(pinFolder(prefix));
    const lab = await Lab.open({ prefix, sidecar, pods, apps: pods === USUAL });
    stack.move();
    return new FaultBed(lab, pins, program);
  }

  /** Command line of an agent on this bed; later options win. */
  agentArgv(...more: string[]): [string, ...string[]] {
    const { lab, bpffs, socket } = this;
    const own = ['--pods', lab.manifests, '--cgroup', lab.cgroup, '--bpffs', bpffs, '--socket', socket];
    return [...this.#program, 'agent', ...own, ...more];
  }

  /** Runs any command of the CLI on this bed to its end. */
  cli(...args: string[]): Promise<CommandResult> {
    return attempt([...this.#program, ...args, '--bpffs', this.bpffs, '--socket', this.socket]);
  }

  /** Runs an agent that is to refuse; one that does not is ended, and its exit code is 124. */
  refused(argv: readonly string[]): Promise<CommandResult> {
    return attempt(['timeout', String(patient(30)), ...argv]);
  }

  /** Starts the bed's agent, without waiting. */
  launch(...more: string[]): Promise<LabProcess> {
    return this.#launch(this.agentArgv(...more));
  }

  async #launch(argv: Argv): Promise<LabProcess> {
    this.#agent = await LabProcess.start('agent', argv, { logFile: this.logFile });
    return this.#agent;
  }

  /**
   * Starts the bed's agent by a program that runs it on a lesser machine, and waits until it has both pods.
   *
   * @param program and its first arguments
   */
  async startUnder(program: Argv, ...more: string[]): Promise<StatusReport> {
    const agent = await this.#launch([...program, ...this.agentArgv(...more)]);
    return until(
      async () => {
        agent.assertRunning();
        const status = await this.client.status().catch(unlessDown);
        return status?.pods.enrolled === 2 ? status : undefined;
      },
      { what: 'the agent', timeoutMs: 60_000 },
    );
  }

  /** Starts the bed's agent and waits until its API answers. */
  async start(...more: string[]): Promise<StatusReport> {
    const agent = await this.launch(...more);
    return until(
      async () => {
        agent.assertRunning();
        return this.client.status().catch(unlessDown);
      },
      { what: 'the agent', timeoutMs: 60_000 },
    );
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#agent?.stop(signal, 10_000);
    this.#agent = null;
  }

  get logFile(): string {
    return join(this.lab.folder, 'agent.log');
  }

  log(): LogLine[] {
    const lines = readFileSync(this.logFile, 'utf8').split('\n');
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  /** Puts a manifest beside the lab's own; waits until `seen` holds of the agent's status and pods. */
  async write(
    file: string,
    text: string,
    seen: (status: StatusReport, pods: PodReport[]) => boolean,
  ): Promise<{ status: StatusReport; pods: PodReport[] }> {
    writeFileSync(join(this.lab.manifests, file), text);
    return this.settled(seen);
  }

  read(file: string): string {
    return readFileSync(join(this.lab.manifests, file), 'utf8');
  }

  async remove(file: string, seen: (status: StatusReport, pods: PodReport[]) => boolean): Promise<void> {
    rmSync(join(this.lab.manifests, file));
    await this.settled(seen);
  }

  async settled(
    seen: (status: StatusReport, pods: PodReport[]) => boolean,
  ): Promise<{ status: StatusReport; pods: PodReport[] }> {
    return until(
      async () => {
        const [status, pods] = [await this.client.status(), await this.client.pods()];
        return seen(status, pods) ? { status, pods } : undefined;
      },
      { what: 'the agent to take the change', timeoutMs: 60_000, everyMs: 50 },
    );
  }

  /** True when a connection from pod a to pod b goes through both sidecars, by what both ends see. */
  async redirected(): Promise<boolean> {
    const [a, b] = [this.lab.pod('a'), this.lab.pod('b')];
    const client = await a.client();
    await using connection = await client.connect({ host: b.address(4), port: APP_PORT });
    const who = await connection.who();
    // The application of b is reached by b's own sidecar, from the passthrough address.
    return (
      who.name === 'b' &&
      who.peer.startsWith('127.0.0.6:') &&
      connection.remote === `${b.address(4)}:${APP_PORT}`
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
    await this.cli('cleanup');
    await this.lab[Symbol.asyncDispose]();
    this.#pins[Symbol.dispose]();
  }
}

function unlessDown(error: unknown): undefined {
  if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
  throw error;
}
