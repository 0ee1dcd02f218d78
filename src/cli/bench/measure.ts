/** Rounds: every contender of a case once in each, in an order that turns. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Lab } from '../../lab/lab.ts';
import type { Case, Metric } from './cases.ts';
import { type Contender, Lane, type Path } from './contenders.ts';

/** Time for the agent to look at a new connection and accelerate what has proved fit. */
const WARM_UP_MS = 1_200;
const WARM_UP_TRIPS = 100;

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
  rounds: number;
  cpus: readonly number[];
  signal?: AbortSignal | undefined;
  /** Told before each case. */
  onCase?: (one: Case) => void;
}

/** @throws SHUNT_E_LAB_PROCESS when something of the bed ended or did not answer */
export async function measure(lab: Lab, options: MeasureOptions): Promise<Measurement[]> {
  const { contenders, cases, rounds, cpus, signal, onCase } = options;
  await using stack = new AsyncDisposableStack();
  const lanes = new Map<Path, Lane[]>();
  for (const path of new Set(cases.map((one) => one.path))) {
    const opened: Lane[] = [];
    for (const contender of contenders) {
      opened.push(stack.use(await Lane.open(lab, contender, path, signal)));
    }
    lanes.set(path, opened);
  }
  await warmUp([...lanes.values()].flat(), signal);

  const measurements: Measurement[] = [];
  for (const one of cases) {
    signal?.throwIfAborted();
    onCase?.(one);
    measurements.push(...(await measureCase(one, lanes.get(one.path) ?? [], { rounds, cpus, signal })));
  }
  return measurements;
}

async function measureCase(
  one: Case,
  lanes: readonly Lane[],
  { rounds, cpus, signal }: Pick<MeasureOptions, 'rounds' | 'cpus' | 'signal'>,
): Promise<Measurement[]> {
  const samples = new Map<Lane, number[][]>(lanes.map((lane) => [lane, one.metrics.map(() => [])]));
  for (const lane of lanes) {
    await lane.place(one.placement, cpus);
    await one.sample(lane);
  }
  for (let round = 0; round < rounds; round++) {
    signal?.throwIfAborted();
    for (let turn = 0; turn < lanes.length; turn++) {
      const lane = lanes[(round + turn) % lanes.length];
      if (lane === undefined) continue;
      const values = await one.sample(lane);
      samples.get(lane)?.forEach((list, index) => void list.push(values[index] ?? Number.NaN));
    }
  }
  return one.metrics.map((metric, index) => ({
    case: one.id,
    title: one.title,
    placement: one.placement,
    metric,
    values: lanes.map((lane) => ({ contender: lane.contender, rounds: samples.get(lane)?.[index] ?? [] })),
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
