/** What is measured of every contender, in turn. */

import { median, percentile } from '../../lab/statistics.ts';
import type { Lane, Path, Placement } from './contenders.ts';

export interface Metric {
  name: string;
  unit: string;
  better: 'lower' | 'higher';
}

export interface Case {
  /** Names it in JSON and in the targets. */
  id: string;
  title: string;
  path: Path;
  placement: Placement;
  metrics: readonly Metric[];
  /** In the first run of `--quick` and `shunt bench` too. */
  quick: boolean;
  /** One value for each metric. */
  sample(lane: Lane): Promise<number[]>;
}

const P50: Metric = { name: 'p50', unit: 'us', better: 'lower' };
const P99: Metric = { name: 'p99', unit: 'us', better: 'lower' };
const MEAN: Metric = { name: 'mean', unit: 'us', better: 'lower' };
const CPU: Metric = { name: 'CPU', unit: 'us', better: 'lower' };
const RATE: Metric = { name: 'rate', unit: 'MB/s', better: 'higher' };

/** Enough for a ninety-ninth percentile, and some tens of milliseconds of work. */
const TRIPS = 300;
const CONNECTS = 100;
const STREAM_MS = 200;
const LOAD_MS = 300;
const LOAD_CONNECTIONS = 16;

function sizeName(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KB`;
}

function roundTrip(path: Path, bytes: number, placement: Placement, quick = false): Case {
  return {
    id: `rtt-${path}-${bytes}-${placement === 'one core' ? 'one' : 'all'}`,
    title: `round trip, ${path === 'pod' ? 'pod to pod' : 'to a host outside'}, ${sizeName(bytes)}`,
    path,
    placement,
    quick,
    metrics: [P50, P99, CPU],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`rtt ${bytes} ${TRIPS}`);
      return [median(answer) / 1000, percentile(answer, 0.99) / 1000, cpuNs / TRIPS / 1000];
    },
  };
}

/** One hop, beside which an AF_UNIX pair of the same program is the floor. */
function hop(bytes: number): Case {
  return {
    id: `hop-${bytes}`,
    title: `round trip, application to sidecar alone, ${sizeName(bytes)}`,
    path: 'sidecar',
    placement: 'one core',
    quick: false,
    metrics: [P50, { name: 'of AF_UNIX', unit: 'x', better: 'lower' }],
    async sample(lane) {
      const p50 = median(await lane.ask(`rtt ${bytes} ${TRIPS}`));
      return [p50 / 1000, p50 / median(await lane.ask(`unix ${bytes} ${TRIPS}`))];
    },
  };
}

function stream(bytes: number, placement: Placement, quick = false): Case {
  return {
    id: `stream-${bytes}-${placement === 'one core' ? 'one' : 'all'}`,
    title: `stream, pod to pod, writes of ${sizeName(bytes)}`,
    path: 'pod',
    placement,
    quick,
    metrics: [RATE],
    async sample(lane) {
      const [bytesMoved = 0, ns = 1] = await lane.ask(`stream ${bytes} ${STREAM_MS}`);
      return [(bytesMoved / ns) * 1000];
    },
  };
}

function connect(placement: Placement, quick = false): Case {
  return {
    id: `connect-${placement === 'one core' ? 'one' : 'all'}`,
    title: 'connect, one request of 64 B, close; pod to pod',
    path: 'pod',
    placement,
    quick,
    metrics: [MEAN, P50, P99, CPU],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`connect 64 ${CONNECTS}`);
      const mean = answer.reduce((sum, time) => sum + time, 0) / answer.length;
      const tail = percentile(answer, 0.99) / 1000;
      return [mean / 1000, median(answer) / 1000, tail, cpuNs / CONNECTS / 1000];
    },
  };
}

/** Many connections at once; everything of it may use every core. */
export function requests(bytes: number): Case {
  return {
    id: `requests-${bytes}`,
    title: `${LOAD_CONNECTIONS} connections at once, pod to pod, ${sizeName(bytes)}`,
    path: 'pod',
    placement: 'all cores',
    quick: false,
    metrics: [
      { name: 'rate', unit: '/s', better: 'higher' },
      P50,
      P99,
      { name: 'per CPU', unit: '/s', better: 'higher' },
    ],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`load ${LOAD_CONNECTIONS} ${bytes} ${LOAD_MS}`);
      const [done = 0, ns = 1, p50 = 0, p99 = 0] = answer;
      return [(done * 1e9) / ns, p50 / 1000, p99 / 1000, (done * 1e9) / cpuNs];
    },
  };
}

/** What an end that reads nothing takes before the writer blocks. */
const STALL: Case = {
  id: 'stall',
  title: 'bytes taken for a reader that reads nothing, pod to pod',
  path: 'pod',
  placement: 'all cores',
  quick: false,
  metrics: [{ name: 'taken', unit: 'MB', better: 'lower' }],
  async sample(lane) {
    const [taken = 0] = await lane.ask('stall');
    return [taken / 1e6];
  },
};

/** Everything but what needs another lab. */
export const CASES: readonly Case[] = [
  roundTrip('pod', 64, 'one core', true),
  roundTrip('pod', 1024, 'one core'),
  roundTrip('pod', 4096, 'one core', true),
  roundTrip('pod', 16384, 'one core'),
  roundTrip('pod', 65536, 'one core'),
  roundTrip('outside', 64, 'one core', true),
  roundTrip('outside', 4096, 'one core'),
  roundTrip('outside', 65536, 'one core'),
  roundTrip('pod', 64, 'all cores'),
  roundTrip('pod', 4096, 'all cores'),
  hop(64),
  hop(4096),
  stream(1024, 'one core'),
  stream(65536, 'one core', true),
  stream(65536, 'all cores'),
  connect('one core', true),
  connect('all cores'),
  STALL,
];
