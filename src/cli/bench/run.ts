import { mkdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ShuntError } from '../../errors.ts';
import type { SidecarKind } from '../../lab/sidecar.ts';
import { AgentProcess } from '../demo/agent_process.ts';
import { withBpffs } from '../demo/node.ts';
import { removePins } from '../demo/pins.ts';
import type { Io } from '../io.ts';
import type { Case } from './cases.ts';
import { CONTENDERS, openLab } from './contenders.ts';
import { type Measurement, measure } from './measure.ts';

/** Name of everything it makes on the node. */
const PREFIX = 'shunt-bench';

export interface BenchOptions {
  /** How the CLI is run for the agent: the program and its first arguments. */
  cli: readonly [string, ...string[]];
  /** BPF file system; the pins stand in a directory of their own, beside those of an agent that serves the node. */
  bpffs: string;
  sidecar: SidecarKind;
  cases: readonly Case[];
  rounds: number;
  signal: AbortSignal;
}

/**
 * Builds pods for every contender, runs the cases, and takes everything down.
 *
 * @throws SHUNT_E_NOT_ROOT, SHUNT_E_LAB_*, SHUNT_E_CLEANUP_LEFT
 */
export async function runCases(options: BenchOptions, io: Io): Promise<Measurement[]> {
  if (process.getuid?.() !== 0) throw new ShuntError('SHUNT_E_NOT_ROOT');
  const { cli, sidecar, cases, rounds, signal } = options;
  await using stack = new AsyncDisposableStack();
  stack.use(await withBpffs(options.bpffs, io));
  const paths = new Set(cases.map(({ path }) => path));
  const lab = stack.use(await openLab(PREFIX, { sidecar, contenders: CONTENDERS, paths }, signal));
  const bpffs = join(options.bpffs, PREFIX);
  mkdirSync(bpffs, { recursive: true, mode: 0o700 });
  stack.defer(() => rmSync(bpffs, { recursive: true, force: true }));
  const socket = join(lab.folder, 'agent.sock');
  stack.defer(async () => {
    await lab.still();
    await removePins({ cli, socket, bpffs });
  });
  const agent = stack.use(await AgentProcess.start({ cli, lab, socket, bpffs, backend: 'ebpf', signal }));
  const { acceleration } = await agent.client.status();
  io.note(`${sidecar}: acceleration ${acceleration.enabled ? 'on' : 'off'} (${acceleration.reason})`);
  const cpus = Array.from({ length: availableParallelism() }, (_, cpu) => cpu);
  const onCase = (one: Case): void => io.note(`${one.title}, ${one.placement}`);
  return await measure(lab, { contenders: CONTENDERS, cases, rounds, cpus, signal, onCase });
}
