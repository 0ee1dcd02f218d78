/** What the project promises of its speed, each held to the figures of one run. */

import { median, ratio } from '../../lab/statistics.ts';
import type { Contender } from './contenders.ts';
import { judgeNode } from './node_figures.ts';
import type { BenchResult } from './run.ts';

export interface Target {
  text: string;
  case: string;
  metric: string;
  contender: Contender;
  /** Ratio to this one; the value itself where it is null. */
  to: Contender | null;
  /** Of another case of the same group. */
  toCase?: string;
  most?: number;
  least?: number;
}

const UNACCELERATED = 1.05;
const SIZES = [64, 1024, 4096, 16384, 65536];
/** Of one core, with nothing to do. */
const IDLE_SHARE = 0.005;

export const TARGETS: readonly Target[] = [
  ...SIZES.map((bytes) => rtt('pod', bytes, 'accelerated', bytes < 4096 ? 0.58 : 0.45)),
  ...SIZES.map((bytes) => ({
    ...rtt('pod', bytes, 'accelerated', 0.65),
    text: `the same, ${bytes} B, where sidecars alone are accelerated`,
  })),
  ...SIZES.map((bytes) => rtt('pod', bytes, 'full', bytes < 4096 ? 0.58 : 0.45)),
  ...[64, 4096, 65536].map((bytes) => rtt('outside', bytes, 'accelerated', 0.75)),
  ...[64, 4096, 65536].map((bytes) => rtt('outside', bytes, 'full', 0.75)),
  ...(['accelerated', 'full'] as const).flatMap((contender) =>
    [64, 4096].map((bytes) => ({
      text: `application to sidecar, ${bytes} B${optedIn(contender)}, to AF_UNIX`,
      case: `hop-${bytes}`,
      metric: 'of AF_UNIX',
      contender,
      to: null,
      most: 1.15,
    })),
  ),
  ...[
    ['one', 'one core'],
    ['two', 'a core a pod'],
  ].map(([short, placement]) => ({
    text: `stream of 64 KB writes, ${placement}`,
    case: `stream-65536-${short}`,
    metric: 'rate',
    contender: 'accelerated' as const,
    to: 'iptables' as const,
    least: 1.2,
  })),
  ...[
    ['mean', 0.85],
    ['p99', 1],
  ].map(([metric, most]) => ({
    text: `connect, request, close: ${metric}`,
    case: 'connect-one',
    metric: String(metric),
    contender: 'accelerated' as const,
    to: 'iptables' as const,
    most: Number(most),
  })),
  {
    text: 'connect, request, close, with 10,000 rules: mean',
    case: 'rules-10000',
    metric: 'mean',
    contender: 'accelerated',
    to: 'iptables',
    most: 0.7,
  },
  {
    text: 'the same, to its own with no rule',
    case: 'rules-10000',
    metric: 'mean',
    contender: 'accelerated',
    to: 'accelerated',
    toCase: 'rules-0',
    most: 1.05,
  },
  ...SIZES.map((bytes) => slower(`round trip of ${bytes} B`, `rtt-pod-${bytes}-one`, 'p50')),
  slower('round trip of 64 B, a core a pod', 'rtt-pod-64-two', 'p50'),
  slower('connect, request, close', 'connect-one', 'mean'),
  ...[1024, 8192, 65536].map((bytes) => ({
    text: `accelerated to un-accelerated, stream of ${bytes / 1024} KB writes`,
    case: `stream-${bytes}-one`,
    metric: 'rate',
    contender: 'accelerated' as const,
    to: 'redirect' as const,
    least: 1 / UNACCELERATED,
  })),
  ...[
    ['stall', 'nothing'],
    ['slow', 'slowly'],
  ].map(([id = '', reads]) => ({
    text: `a reader that reads ${reads}: bytes taken, to un-accelerated`,
    case: id,
    metric: 'taken',
    contender: 'accelerated' as const,
    to: 'redirect' as const,
    most: 1.2,
  })),
  {
    text: 'Envoy to Envoy on one node: requests per CPU second',
    case: 'requests-64',
    metric: 'per CPU',
    contender: 'accelerated',
    to: 'iptables',
    least: 1.25,
  },
];

function optedIn(contender: Contender): string {
  return contender === 'full' ? ', opted in' : '';
}

function rtt(path: 'pod' | 'outside', bytes: number, contender: Contender, most: number): Target {
  const where = path === 'pod' ? 'pod to pod' : 'to a host outside';
  return {
    text: `round trip ${where}, ${bytes} B${optedIn(contender)}`,
    case: `rtt-${path}-${bytes}-one`,
    metric: 'p50',
    contender,
    to: 'iptables',
    most,
  };
}

/** Nothing may cost more for being accelerated. */
function slower(what: string, id: string, metric: string): Target {
  return {
    text: `accelerated to un-accelerated, ${what}`,
    case: id,
    metric,
    contender: 'accelerated',
    to: 'redirect',
    most: UNACCELERATED,
  };
}

export interface Verdict {
  target: Pick<Target, 'text' | 'most' | 'least'>;
  value: number;
  met: boolean;
}

/** Targets whose case was measured. */
export function judge({
  measurements,
  promotion,
  node,
}: Pick<BenchResult, 'measurements' | 'promotion' | 'node'>): Verdict[] {
  const compared = TARGETS.flatMap((target) => {
    const roundsOf = (id: string, contender: Contender): number[] | undefined =>
      measurements
        .find((one) => one.case === id && one.metric.name === target.metric)
        ?.values.find((value) => value.contender === contender)?.rounds;
    const own = roundsOf(target.case, target.contender);
    const base = target.to === null ? undefined : roundsOf(target.toCase ?? target.case, target.to);
    if (own === undefined || (target.to !== null && base === undefined)) return [];
    return [verdict(target, base === undefined ? median(own) : ratio(own, base).median)];
  });
  const idle = promotion.map(({ connections, agentMs }) =>
    verdict(
      {
        text: `agent beside ${connections.toLocaleString('en')} idle connections: share of a core`,
        most: IDLE_SHARE,
      },
      agentMs / 1000,
    ),
  );
  return [...compared, ...idle, ...judgeNode(node)];
}

function verdict(target: Verdict['target'], value: number): Verdict {
  const met = value <= (target.most ?? Number.POSITIVE_INFINITY) && value >= (target.least ?? 0);
  return { target, value, met };
}
