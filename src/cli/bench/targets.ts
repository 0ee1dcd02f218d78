/** What the project promises of its speed, each held to the figures of one run. */

import { median, ratio } from '../../lab/statistics.ts';
import type { Contender } from './contenders.ts';
import type { Measurement } from './measure.ts';

export interface Target {
  text: string;
  case: string;
  metric: string;
  contender: Contender;
  /** Ratio to this one; the value itself where it is null. */
  to: Contender | null;
  most?: number;
  least?: number;
}

const UNACCELERATED = 1.05;

export const TARGETS: readonly Target[] = [
  ...[64, 1024].map((bytes) => rtt('pod', bytes, 0.58)),
  ...[4096, 16384, 65536].map((bytes) => rtt('pod', bytes, 0.45)),
  ...[64, 4096, 65536].map((bytes) => rtt('outside', bytes, 0.75)),
  ...[64, 4096].map((bytes) => ({
    text: `application to sidecar, ${bytes} B, to AF_UNIX`,
    case: `hop-${bytes}`,
    metric: 'of AF_UNIX',
    contender: 'accelerated' as const,
    to: null,
    most: 1.15,
  })),
  ...['one', 'all'].map((cores) => ({
    text: `stream of 64 KB writes, ${cores === 'one' ? 'one core' : 'all cores'}`,
    case: `stream-65536-${cores}`,
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
  ...[64, 1024, 4096, 16384, 65536].map((bytes) => ({
    text: `accelerated to un-accelerated, round trip of ${bytes} B`,
    case: `rtt-pod-${bytes}-one`,
    metric: 'p50',
    contender: 'accelerated' as const,
    to: 'redirect' as const,
    most: UNACCELERATED,
  })),
  {
    text: 'accelerated to un-accelerated, stream of 64 KB writes',
    case: 'stream-65536-one',
    metric: 'rate',
    contender: 'accelerated',
    to: 'redirect',
    least: 1 / UNACCELERATED,
  },
  {
    text: 'a reader that reads nothing: bytes taken, to plain TCP through the same proxies',
    case: 'stall',
    metric: 'taken',
    contender: 'accelerated',
    to: 'redirect',
    most: 1.2,
  },
  {
    text: 'Envoy to Envoy on one node: requests per CPU second',
    case: 'requests-64',
    metric: 'per CPU',
    contender: 'accelerated',
    to: 'iptables',
    least: 1.25,
  },
];

function rtt(path: 'pod' | 'outside', bytes: number, most: number): Target {
  return {
    text: `round trip ${path === 'pod' ? 'pod to pod' : 'to a host outside'}, ${bytes} B, one core`,
    case: `rtt-${path}-${bytes}-one`,
    metric: 'p50',
    contender: 'accelerated',
    to: 'iptables',
    most,
  };
}

export interface Verdict {
  target: Target;
  value: number;
  met: boolean;
}

/** Targets whose case was measured. */
export function judge(measurements: readonly Measurement[], targets = TARGETS): Verdict[] {
  return targets.flatMap((target) => {
    const found = measurements.find((one) => one.case === target.case && one.metric.name === target.metric);
    const of = (contender: Contender): number[] | undefined =>
      found?.values.find((value) => value.contender === contender)?.rounds;
    const [own, base] = [of(target.contender), target.to === null ? undefined : of(target.to)];
    if (own === undefined || (target.to !== null && base === undefined)) return [];
    const value = base === undefined ? median(own) : ratio(own, base).median;
    const met = value <= (target.most ?? Number.POSITIVE_INFINITY) && value >= (target.least ?? 0);
    return [{ target, value, met }];
  });
}
