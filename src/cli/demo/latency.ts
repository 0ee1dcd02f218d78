import { run } from '../../lab/command.ts';
import type { Pod } from '../../lab/host.ts';
import type { Lab } from '../../lab/lab.ts';
import { Load } from '../../lab/load.ts';
import type { SidecarKind } from '../../lab/sidecar.ts';
import { median, percentile, ratio } from '../../lab/statistics.ts';

const SIZES = [64, 4096];
const ROUNDS = 7;
const ROUND_TRIPS = 800;
/** Time for the agent to look at the new connections and accelerate what has proved fit. */
const WARM_UP_MS = 1_500;
const WARM_UP_TRIPS = 200;

/** Round trips of one way of capturing, over all rounds, in microseconds. */
export interface Lane {
  path: 'iptables' | 'shunt';
  p50: number;
  p99: number;
  /** Median over the rounds of this lane's p50 to iptables' in the same round. */
  ratio: number;
}

export interface LatencyResult {
  bytes: number;
  lanes: Lane[];
}

export interface LatencyReport {
  sidecar: SidecarKind;
  rounds: number;
  roundTripsPerRound: number;
  cpu: number;
  results: LatencyResult[];
}

/**
 * Round trips app to app through both sidecars, under iptables and under Shunt in turn, so that what else the machine
 * does meets both. Everything that takes part runs on one CPU: otherwise the time to wake another CPU, which no
 * redirection changes, hides the difference.
 *
 * @param pairs the two pods of each way of capturing
 */
export async function compareLatency(
  lab: Lab,
  pairs: Record<Lane['path'], readonly [Pod, Pod]>,
  signal?: AbortSignal,
): Promise<LatencyReport> {
  await using stack = new AsyncDisposableStack();
  const open = async ([from, to]: readonly [Pod, Pod]) =>
    stack.use(await Load.start(lab, from, to, { signal }));
  const lanes: [Lane['path'], Load][] = [
    ['iptables', await open(pairs.iptables)],
    ['shunt', await open(pairs.shunt)],
  ];
  const cpu = 0;
  for (const pod of [...pairs.iptables, ...pairs.shunt]) {
    if (pod.sidecar.pid === null) continue;
    const before = await pin(pod.sidecar.pid, String(cpu));
    stack.defer(async () => {
      if (pod.sidecar.pid !== null) await pin(pod.sidecar.pid, before);
    });
  }
  for (const [, pair] of lanes) {
    await pin(pair.caller.pid, String(cpu));
    await pin(pair.server.pid, String(cpu));
  }

  await warmUp(lanes, signal);
  const results: LatencyResult[] = [];
  for (const bytes of SIZES) results.push({ bytes, lanes: await measure(lanes, bytes, signal) });
  const [first] = pairs.shunt;
  return { sidecar: first.sidecar.kind, rounds: ROUNDS, roundTripsPerRound: ROUND_TRIPS, cpu, results };
}

async function warmUp(lanes: [Lane['path'], Load][], signal?: AbortSignal): Promise<void> {
  const end = performance.now() + WARM_UP_MS;
  while (performance.now() < end) {
    signal?.throwIfAborted();
    for (const [, pair] of lanes) await pair.ask(`rtt ${SIZES[0] ?? 64} ${WARM_UP_TRIPS}`);
  }
}

async function measure(lanes: [Lane['path'], Load][], bytes: number, signal?: AbortSignal): Promise<Lane[]> {
  const times = new Map<Lane['path'], number[]>(lanes.map(([path]) => [path, []]));
  const medians = new Map<Lane['path'], number[]>(lanes.map(([path]) => [path, []]));
  for (let round = 0; round < ROUNDS; round++) {
    signal?.throwIfAborted();
    // Each goes first as often as the other.
    for (const [path, pair] of round % 2 === 0 ? lanes : lanes.toReversed()) {
      const sample = (await pair.ask(`rtt ${bytes} ${ROUND_TRIPS}`)).map((ns) => ns / 1000);
      times.get(path)?.push(...sample);
      medians.get(path)?.push(median(sample));
    }
  }
  const baseline = medians.get('iptables') ?? [];
  return lanes.map(([path]) => {
    const all = times.get(path) ?? [];
    const { median: middle } = ratio(medians.get(path) ?? [], baseline);
    return { path, p50: median(all), p99: percentile(all, 0.99), ratio: middle };
  });
}

/** Moves a process with its threads to these CPUs; returns where it was. */
async function pin(pid: number, cpus: string): Promise<string> {
  const before = await run(['taskset', '--pid', '--cpu-list', String(pid)]);
  await run(['taskset', '--all-tasks', '--pid', '--cpu-list', cpus, String(pid)]);
  return before.trim().split(' ').at(-1) ?? cpus;
}
