/** Rounds: every contender of a case once in each, in an order that turns. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Lab } from '../../lab/lab.ts';
import type { Case, Metric } from './cases.ts';
import { type Contender, contendersOf, type Path } from './contenders.ts';
import { Lane } from './lane.ts';

/** Time for the agent to look at a new connection and accelerate what has proved fit. */
const WARM_UP_MS = 1_200;
const WARM_UP_TRIPS = 100;
/** Rounds that a ratio needs to have a spread. */
const FEWEST = 3;

/** Samples of one metric: a value a round. */
export interface Measurement {
  case: string;
  title: string;
  placement: string;
  metric: Metric;
  values: { contender: Contender; rounds: number[] }[];
}

export interface MeasureOptions {
  contenders: readonly Contender[];
  cases: readonly Case[];
  /** Of each case, unless the time is up before: then as many as fit, and `FEWEST` in any case. */
  rounds: number;
  budgetMs: number;
  cpus: readonly number[];
  signal?: AbortSignal | undefined;
  /** Told before each case. */
  onCase?: (one: Case) => void;
  /** Awaited after each case. */
  afterCase?: (one: Case) => Promise<void>;
}

/** @throws SHUNT_E_LAB_PROCESS when something of the bed ended or did not answer */
export async function measure(lab: Lab, options: MeasureOptions): Promise<Measurement[]> {
  const { contenders, cases, signal, onCase, afterCase } = options;
  await using stack = new AsyncDisposableStack();
  const lanes = new Map<Path, Lane[]>();
  for (const path of new Set(cases.map((one) => one.path))) {
    const opened: Lane[] = [];
    for (const contender of contendersOf(path, contenders)) {
      opened.push(stack.use(await Lane.open(lab, contender, path, signal)));
    }
    lanes.set(path, opened);
  }
  await warmUp([...lanes.values()].flat(), signal);

  const measurements: Measurement[] = [];
  const end = performance.now() + options.budgetMs;
  for (const [index, together] of groups(cases).entries()) {
    signal?.throwIfAborted();
    const parts = together.flatMap((one) => (lanes.get(one.path) ?? []).map((lane) => new Part(one, lane)));
    for (const one of together) onCase?.(one);
    const share = (end - performance.now()) / (groups(cases).length - index);
    await measureParts(parts, options, performance.now() + share);
    measurements.push(...together.flatMap((one) => results(one, parts)));
    for (const one of together) await afterCase?.(one);
  }
  return measurements;
}

/** Neighbours of one group together, every other case alone. */
function groups(cases: readonly Case[]): Case[][] {
  const made: Case[][] = [];
  for (const one of cases) {
    const last = made.at(-1);
    if (one.group !== undefined && last?.[0]?.group === one.group) last.push(one);
    else made.push([one]);
  }
  return made;
}

/** A contender in a case, with its samples. */
class Part {
  readonly one: Case;
  readonly lane: Lane;
  readonly samples: number[][];

  constructor(one: Case, lane: Lane) {
    this.one = one;
    this.lane = lane;
    this.samples = one.metrics.map(() => []);
  }

  async sample(): Promise<void> {
    const values = await this.one.sample(this.lane);
    for (const [index, list] of this.samples.entries()) list.push(values[index] ?? Number.NaN);
  }
}

async function measureParts(
  parts: readonly Part[],
  { rounds, cpus, signal }: Pick<MeasureOptions, 'rounds' | 'cpus' | 'signal'>,
  end: number,
): Promise<void> {
  await Promise.all(parts.map(({ one, lane }) => one.prepare?.(lane, rounds, signal)));
  for (const { one, lane } of parts) {
    signal?.throwIfAborted();
    await lane.place(one.placement, cpus);
    await one.sample(lane);
  }
  for (let round = 0; round < rounds; round++) {
    signal?.throwIfAborted();
    if (round >= FEWEST && performance.now() > end) return;
    for (let turn = 0; turn < parts.length; turn++) await parts[(round + turn) % parts.length]?.sample();
  }
}

function results(one: Case, parts: readonly Part[]): Measurement[] {
  const own = parts.filter((part) => part.one === one);
  return one.metrics.map((metric, index) => ({
    case: one.id,
    title: one.title,
    placement: one.placement,
    metric,
    values: own.map(({ lane, samples }) => ({ contender: lane.contender, rounds: samples[index] ?? [] })),
  }));
}

/** Every kept connection is used until the agent has had time to promote it. */
async function warmUp(lanes: readonly Lane[], signal?: AbortSignal): Promise<void> {
  const end = performance.now() + WARM_UP_MS;
  do {
    for (const lane of lanes) await lane.ask(`rtt 64 ${WARM_UP_TRIPS}`);
    await delay(20, undefined, signal === undefined ? {} : { signal });
  } while (performance.now() < end);
}
