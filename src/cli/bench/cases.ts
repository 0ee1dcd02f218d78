/** What is measured of every contender, in turn. */

import { median, percentile } from '../../lab/statistics.ts';
import { type Path, RULE_COUNTS, type RuleCount } from './contenders.ts';
import type { Lane, Placement } from './lane.ts';

/** `shunt bench`, `npm run bench -- --quick`, and `npm run bench`. */
export const RUN_LENGTHS = ['node', 'quick', 'full'] as const;
export type RunLength = (typeof RUN_LENGTHS)[number];

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
  /** The shortest run that has it. */
  from: RunLength;
  /** Connections that it holds open in each pod meanwhile. */
  crowd?: number;
  /** Cases of one group are measured in turn, so that they may be compared with each other too. */
  group?: string;
  /** Done with each contender before the first sample, with `rounds` of them to come. */
  prepare?(lane: Lane, rounds: number, signal?: AbortSignal): Promise<void>;
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
const SLOW_MS = 300;
const CROWDS = [0, 1_000, 10_000, 50_000] as const;

/** In a case's id. */
const SHORT: Record<Placement, string> = { 'one core': 'one', 'a core a pod': 'two', 'all cores': 'all' };

function sizeName(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KB`;
}

function roundTrip(
  path: 'pod' | 'outside',
  bytes: number,
  placement: Placement,
  from: RunLength = 'full',
): Case {
  return {
    id: `rtt-${path}-${bytes}-${SHORT[placement]}`,
    title: `round trip, ${path === 'pod' ? 'pod to pod' : 'to a host outside'}, ${sizeName(bytes)}`,
    path,
    placement,
    from,
    metrics: [P50, P99, CPU],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`rtt ${bytes} ${TRIPS}`);
      return [median(answer) / 1000, percentile(answer, 0.99) / 1000, cpuNs / TRIPS / 1000];
    },
  };
}

/** One hop, beside which an AF_UNIX pair of the same program is the floor. */
function hop(bytes: number, from: RunLength = 'full'): Case {
  return {
    id: `hop-${bytes}`,
    title: `round trip, application to sidecar alone, ${sizeName(bytes)}`,
    path: 'sidecar',
    placement: 'one core',
    from,
    metrics: [
      P50,
      { name: 'AF_UNIX meanwhile, p50', unit: 'us', better: 'lower' },
      { name: 'of AF_UNIX', unit: 'x', better: 'lower' },
    ],
    async sample(lane) {
      const p50 = median(await lane.ask(`rtt ${bytes} ${TRIPS}`));
      const floor = median(await lane.ask(`unix ${bytes} ${TRIPS}`));
      return [p50 / 1000, floor / 1000, p50 / floor];
    },
  };
}

function stream(bytes: number, placement: Placement, from: RunLength = 'full'): Case {
  return {
    id: `stream-${bytes}-${SHORT[placement]}`,
    title: `stream, pod to pod, writes of ${sizeName(bytes)}`,
    path: 'pod',
    placement,
    from,
    metrics: [RATE],
    async sample(lane) {
      const [bytesMoved = 0, ns = 1] = await lane.ask(`stream ${bytes} ${STREAM_MS}`);
      return [(bytesMoved / ns) * 1000];
    },
  };
}

function connect(placement: Placement, from: RunLength = 'full'): Case {
  return {
    id: `connect-${SHORT[placement]}`,
    title: 'connect, one request of 64 B, close; pod to pod',
    path: 'pod',
    placement,
    from,
    metrics: [MEAN, P50, P99, CPU, { name: 'rate', unit: '/s', better: 'higher' }],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`connect 64 ${CONNECTS}`);
      const mean = meanOf(answer);
      const tail = percentile(answer, 0.99) / 1000;
      return [mean / 1000, median(answer) / 1000, tail, cpuNs / CONNECTS / 1000, 1e9 / mean];
    },
  };
}

function meanOf(times: readonly number[]): number {
  return times.reduce((sum, time) => sum + time, 0) / times.length;
}

/** What excludes addresses that are not called: a rule each for iptables, an entry each of a trie for Shunt. */
function rules(count: RuleCount, from: RunLength = 'full'): Case {
  return {
    id: `rules-${count}`,
    title: `connect, one request of 64 B, close; to a host outside, ${count.toLocaleString('en')} rules`,
    path: `rules-${count}`,
    placement: 'one core',
    from,
    group: 'rules',
    metrics: [MEAN, P50],
    async sample(lane) {
      const answer = await lane.ask(`connect 64 ${CONNECTS}`);
      return [meanOf(answer) / 1000, median(answer) / 1000];
    },
  };
}

/** Beside connections that are open, in the pods of both and in no other. */
function crowded(crowd: number): Case {
  return {
    id: `crowd-${crowd}`,
    title: `application to sidecar, beside ${crowd.toLocaleString('en')} open connections`,
    path: 'crowd',
    placement: 'one core',
    from: 'full',
    crowd,
    metrics: [
      { name: 'round trip of 64 B, p50', unit: 'us', better: 'lower' },
      { name: 'connect and request, p50', unit: 'us', better: 'lower' },
    ],
    prepare: (lane, _rounds, signal) => lane.hold(crowd, signal),
    async sample(lane) {
      const trips = await lane.ask(`rtt 64 ${TRIPS}`);
      return [median(trips) / 1000, median(await lane.ask(`connect 64 ${CONNECTS}`)) / 1000];
    },
  };
}

/** Many connections at once; everything of it may use every core. */
function requests(bytes: number, from: RunLength = 'full'): Case {
  return {
    id: `requests-${bytes}`,
    title: `${LOAD_CONNECTIONS} connections at once, pod to pod, ${sizeName(bytes)}`,
    path: 'pod',
    placement: 'all cores',
    from,
    metrics: [
      { name: 'rate', unit: '/s', better: 'higher' },
      P50,
      P99,
      { name: 'per CPU', unit: '/s', better: 'higher' },
      { name: 'CPU a request', unit: 'us', better: 'lower' },
    ],
    async sample(lane) {
      const { answer, cpuNs } = await lane.timed(`load ${LOAD_CONNECTIONS} ${bytes} ${LOAD_MS}`);
      const [done = 0, ns = 1, p50 = 0, p99 = 0] = answer;
      return [(done * 1e9) / ns, p50 / 1000, p99 / 1000, (done * 1e9) / cpuNs, cpuNs / done / 1000];
    },
  };
}

/** What is taken for an end that reads nothing, or little, on a connection that was used for requests before. */
function slowReader(id: 'stall' | 'slow', title: string, from: RunLength = 'full'): Case {
  return {
    id,
    title: `bytes taken for a reader that ${title}, pod to pod`,
    path: 'pod',
    placement: 'all cores',
    from,
    metrics: [{ name: 'taken', unit: 'MB', better: 'lower' }],
    async prepare(lane, rounds) {
      // One more for what is thrown away before the first round.
      await lane.ask(`ready ${id === 'stall' ? 2 : 3} ${rounds + 1}`);
    },
    async sample(lane) {
      const [taken = 0] = await lane.ask(id === 'stall' ? 'stall' : `slow ${SLOW_MS}`);
      return [taken / 1e6];
    },
  };
}

/** Everything but what needs another lab. */
export const CASES: readonly Case[] = [
  roundTrip('pod', 64, 'one core', 'node'),
  roundTrip('pod', 1024, 'one core'),
  roundTrip('pod', 4096, 'one core', 'node'),
  roundTrip('pod', 16384, 'one core'),
  roundTrip('pod', 65536, 'one core'),
  roundTrip('pod', 64, 'a core a pod', 'quick'),
  roundTrip('pod', 4096, 'a core a pod'),
  roundTrip('pod', 65536, 'a core a pod'),
  roundTrip('outside', 64, 'one core', 'node'),
  roundTrip('outside', 4096, 'one core'),
  roundTrip('outside', 65536, 'one core'),
  hop(64, 'quick'),
  hop(4096),
  stream(1024, 'one core'),
  stream(8192, 'one core'),
  stream(65536, 'one core', 'node'),
  stream(65536, 'a core a pod'),
  connect('one core', 'node'),
  connect('a core a pod'),
  ...RULE_COUNTS.map((count) => rules(count, count === 1_000 ? 'full' : 'quick')),
  slowReader('stall', 'reads nothing', 'quick'),
  slowReader('slow', `reads 16 KB every 10 ms, in ${SLOW_MS} ms`),
];

/** In a lab of their own: what they hold stays, and nobody else's connections are to be looked at. */
export const CROWD_CASES: readonly Case[] = CROWDS.map(crowded);

/** Through Envoys. */
export const ENVOY_CASES: readonly Case[] = [requests(64, 'quick'), requests(4096)];

/** @param text only those whose id holds it */
export function casesOf(all: readonly Case[], length: RunLength, text = ''): Case[] {
  const at = (one: RunLength): number => RUN_LENGTHS.indexOf(one);
  return all.filter((one) => at(one.from) <= at(length) && one.id.includes(text));
}
