import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../../errors.ts';
import type { Lab } from '../../lab/lab.ts';
import type { SidecarKind } from '../../lab/sidecar.ts';
import { AgentProcess } from '../demo/agent_process.ts';
import { withBpffs } from '../demo/node.ts';
import { removePins } from '../demo/pins.ts';
import type { Io } from '../io.ts';
import { type Contender, openLab, type Path } from './contenders.ts';

export interface BenchBedOptions {
  /** How the CLI is run for the agent: the program and its first arguments. */
  cli: readonly [string, ...string[]];
  /** BPF file system; the pins stand in a directory of their own, beside those of an agent that serves the node. */
  bpffs: string;
  /** Name of everything it makes on the node. */
  prefix: string;
  sidecar: SidecarKind;
  contenders: readonly Contender[];
  paths: ReadonlySet<Path>;
  signal?: AbortSignal;
}

/** A lab with the pods of every contender, and an agent of its own. */
export class BenchBed implements AsyncDisposable {
  readonly lab: Lab;
  readonly agent: AgentProcess;
  readonly bpffs: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(lab: Lab, agent: AgentProcess, bpffs: string, stack: AsyncDisposableStack) {
    this.lab = lab;
    this.agent = agent;
    this.bpffs = bpffs;
    this.#stack = stack;
  }

  /** @throws SHUNT_E_NOT_ROOT, SHUNT_E_LAB_*; when it is disposed of, SHUNT_E_CLEANUP_LEFT */
  static async open(options: BenchBedOptions, io: Io): Promise<BenchBed> {
    if (process.getuid?.() !== 0) throw new ShuntError('SHUNT_E_NOT_ROOT');
    const { cli, prefix, signal } = options;
    await using stack = new AsyncDisposableStack();
    stack.use(await withBpffs(options.bpffs, io));
    const lab = stack.use(await openLab(prefix, options, signal));
    const bpffs = join(options.bpffs, prefix);
    mkdirSync(bpffs, { recursive: true, mode: 0o700 });
    stack.defer(() => rmSync(bpffs, { recursive: true, force: true }));
    const socket = join(lab.folder, 'agent.sock');
    stack.defer(async () => {
      await lab.still();
      await removePins({ cli, socket, bpffs });
    });
    const agent = stack.use(await AgentProcess.start({ cli, lab, socket, bpffs, backend: 'ebpf', signal }));
    return new BenchBed(lab, agent, bpffs, stack.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
