import { availableParallelism } from 'node:os';
import type { SidecarKind } from '../../lab/sidecar.ts';
import type { Io } from '../io.ts';
import { BenchBed } from './bed.ts';
import type { Case } from './cases.ts';
import { CONTENDERS, type Contender } from './contenders.ts';
import { type Measurement, measure } from './measure.ts';
import type { NodeFigure } from './node_figures.ts';
import { type Profile, profilePrograms } from './program_times.ts';
import { type PromotionCost, promotionCost } from './promotion.ts';

/** Name of everything it makes on the node. */
export const PREFIX = 'shunt-bench';

export interface BenchOptions {
  /** How the CLI is run for the agent: the program and its first arguments. */
  cli: readonly [string, ...string[]];
  bpffs: string;
  prefix?: string;
  sidecar: SidecarKind;
  contenders?: readonly Contender[];
  cases: readonly Case[];
  rounds: number;
  /** For the rounds, in all; without, they take as long as they take. */
  budgetMs?: number;
  /** Ask the kernel what each program took, too. */
  profiled?: boolean;
  signal: AbortSignal;
}

/** Everything that one lab told. */
export interface BenchResult {
  measurements: Measurement[];
  promotion: PromotionCost[];
  profiles: Profile[];
  /** What the agent and the CLI take; only of the long forms. */
  node: NodeFigure[];
}

/**
 * Builds pods for every contender, runs the cases, and takes everything down.
 *
 * @throws SHUNT_E_NOT_ROOT, SHUNT_E_LAB_*, SHUNT_E_CLEANUP_LEFT
 */
export async function runCases(options: BenchOptions, io: Io): Promise<BenchResult> {
  const { cli, bpffs, prefix = PREFIX, sidecar, contenders = CONTENDERS, cases, rounds, signal } = options;
  const paths = new Set(cases.map(({ path }) => path));
  await using bed = await BenchBed.open({ cli, bpffs, prefix, sidecar, contenders, paths, signal }, io);
  const { acceleration } = await bed.agent.client.status();
  io.note(`${sidecar}: acceleration ${acceleration.enabled ? 'on' : 'off'} (${acceleration.reason})`);
  const profiles = options.profiled === true ? await profilePrograms(bed, signal) : [];
  const promotion: PromotionCost[] = [];
  const measurements = await measure(bed.lab, {
    contenders,
    cases,
    rounds,
    budgetMs: options.budgetMs ?? Number.POSITIVE_INFINITY,
    cpus: Array.from({ length: availableParallelism() }, (_, cpu) => cpu),
    signal,
    onCase: ({ title, placement }) => io.note(`${title}, ${placement}`),
    afterCase: async ({ crowd }) => {
      if (crowd === undefined) return;
      io.note(`what ${crowd.toLocaleString('en')} idle connections cost the agent`);
      promotion.push(await promotionCost(bed, crowd, signal));
    },
  });
  return { measurements, promotion, profiles, node: [] };
}
