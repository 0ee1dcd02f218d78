import { join } from 'node:path';
import type { PodReport, StatusReport } from '../../agent/api.ts';
import { AgentClient } from '../../agent/client.ts';
import { ShuntError } from '../../errors.ts';
import { until } from '../../lab/deadline.ts';
import type { Lab } from '../../lab/lab.ts';
import { LabProcess } from '../../lab/process.ts';

export interface AgentOptions {
  /** How the CLI is run: the program and its first arguments. */
  cli: readonly [string, ...string[]];
  lab: Lab;
  socket: string;
  bpffs: string;
  /** What it is started with; `auto` where not given. */
  backend?: 'ebpf' | 'iptables' | undefined;
  signal?: AbortSignal | undefined;
}

/** The command that runs this very CLI again, from source or from the bundle. */
export function ownCli(): readonly [string, ...string[]] {
  const [, entry = ''] = process.argv;
  return [process.execPath, ...process.execArgv, entry];
}

/** The agent as a child process. It may be killed and started again; what it pinned stays. */
export class AgentProcess implements AsyncDisposable {
  readonly client: AgentClient;
  readonly #options: AgentOptions;
  #process: LabProcess;

  private constructor(options: AgentOptions, process: LabProcess) {
    this.#options = options;
    this.#process = process;
    this.client = new AgentClient(options.socket);
  }

  /** Starts it and waits until every pod of the lab is enrolled. @throws SHUNT_E_LAB_PROCESS when it ends first */
  static async start(options: AgentOptions): Promise<AgentProcess> {
    const agent = new AgentProcess(options, await launch(options));
    try {
      await agent.#enrolled();
      return agent;
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Ends it with SIGKILL: no handler of its own runs. */
  async kill(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }

  /** Starts it again and waits until it reports every pod. */
  async restart(): Promise<StatusReport> {
    this.#process = await launch(this.#options);
    await this.#enrolled();
    return this.client.status();
  }

  /** A counter of a pod of the bed. */
  async counter(pod: string, name: string): Promise<bigint> {
    const reports = await this.client.pods();
    return reports.find((report) => report.name === `pod-${pod}`)?.held?.counters[name] ?? 0n;
  }

  async #enrolled(): Promise<void> {
    const expected = this.#options.lab.pods;
    const wanted = [...expected.values()].filter((pod) =>
      pod.cgroup.startsWith(`${this.#options.lab.cgroup}/`),
    );
    await until(
      async () => {
        this.#process.assertRunning();
        const reports = await this.#reports();
        const failed = reports?.find(({ state }) => state !== 'enrolled');
        if (failed !== undefined) throw notEnrolled(failed);
        return reports?.length === wanted.length ? true : undefined;
      },
      { what: 'the agent to enroll the pods', timeoutMs: 30_000, everyMs: 25, signal: this.#options.signal },
    );
  }

  /** Undefined while nobody answers yet. */
  async #reports(): Promise<PodReport[] | undefined> {
    try {
      return await this.client.pods();
    } catch (error) {
      if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
      throw error;
    }
  }

  /** Ends it; what it pinned stays until `removePins`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop('SIGTERM', 5_000);
  }
}

function notEnrolled({ name, state, error, reason }: PodReport): ShuntError {
  const why = error === null ? (reason ?? state) : `${error.message} [${error.code}]; ${error.fix}`;
  return new ShuntError('SHUNT_E_LAB_PROCESS', `the agent did not enroll it: ${why}`, { target: name });
}

function launch({ cli, lab, socket, bpffs, backend }: AgentOptions): Promise<LabProcess> {
  const argv = [...cli, ...agentArguments(lab, socket, bpffs, backend)] as const;
  const [file, ...rest] = argv;
  return LabProcess.start('agent', [file ?? process.execPath, ...rest], {
    logFile: join(lab.folder, 'agent.log'),
  });
}

/** Arguments of `shunt` that start the demo's agent; also shown to people. */
export function agentArguments(
  lab: Lab,
  socket: string,
  bpffs: string,
  backend?: AgentOptions['backend'],
): string[] {
  const place = ['--pods', lab.manifests, '--cgroup', lab.cgroup, '--bpffs', bpffs, '--socket', socket];
  return ['agent', ...place, ...(backend === undefined ? [] : ['--backend', backend])];
}
