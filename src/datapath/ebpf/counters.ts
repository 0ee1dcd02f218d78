/** Names of the per-pod counters: enum counter of bpf/layout.h as people read it. */
import type { PerCpuMap } from 'libbpf-ts';
import type { Counter, Counters } from './gen/objects.ts';

/** In the order of the enum; `satisfies` below fails to compile when one is missing. */
const NAMES = {
  COUNTER_OUTBOUND_REDIRECTED: 'outboundRedirected',
  COUNTER_OUTBOUND_PASSED: 'outboundPassed',
  COUNTER_OUTBOUND_REFUSED: 'outboundRefused',
  COUNTER_SELF_CALL: 'selfCall',
  COUNTER_SIDECAR_PASSED: 'sidecarPassed',
  COUNTER_IMPERSONATED: 'impersonated',
  COUNTER_INBOUND_STEERED: 'inboundSteered',
  COUNTER_INBOUND_PASSED: 'inboundPassed',
  COUNTER_INBOUND_REFUSED: 'inboundRefused',
  COUNTER_ORIGINAL_DST: 'originalDst',
  COUNTER_PAIR_LOST: 'pairLost',
  COUNTER_PAIRED: 'paired',
  COUNTER_PROMOTED: 'promoted',
  COUNTER_ACCEL_MESSAGES: 'acceleratedMessages',
  COUNTER_ACCEL_BYTES: 'acceleratedBytes',
  COUNTER_TCP_MESSAGES: 'tcpMessages',
  COUNTER_LISTENER_CAPTURED: 'listenerCaptured',
  COUNTER_LISTENER_LOST: 'listenerLost',
  COUNTER_EVENT_LOST: 'eventLost',
  COUNTER_DNS_REDIRECTED: 'dnsRedirected',
  COUNTER_DNS_PASSED: 'dnsPassed',
} as const satisfies Record<Exclude<Counter, 'COUNTER_MAX'>, string>;

const ORDER = Object.values(NAMES);

export type CounterName = (typeof ORDER)[number];

/** Key of the sums of pods that were withdrawn: no network namespace has this cookie. */
export const RETIRED = 0n;

/** A pod's counters, summed over CPUs. All zero where it has none yet. */
export function readCounters(map: PerCpuMap<bigint, Counters>, cookie: bigint): Record<string, bigint> {
  const values = map.sum(cookie)?.values ?? [];
  return Object.fromEntries(ORDER.map((name, index) => [name, values[index] ?? 0n]));
}

/** Every counter summed over all pods that were ever enrolled, since the maps were made. Read in batches. */
export function readTotals(map: PerCpuMap<bigint, Counters>): Record<CounterName, bigint> {
  const sums = ORDER.map(() => 0n);
  for (const [, cpus] of map.entries()) {
    for (const { values } of cpus) {
      // Most stay at zero on most CPUs.
      for (let i = 0; i < sums.length; i++) if (values[i]) sums[i] = (sums[i] ?? 0n) + (values[i] ?? 0n);
    }
  }
  return Object.fromEntries(ORDER.map((name, index) => [name, sums[index] ?? 0n])) as Record<
    CounterName,
    bigint
  >;
}

/**
 * Takes a pod's counters away and keeps what they counted, so that a total never falls. Killed in between, they count
 * twice: a total that fell would look like a restart, and all of it like new.
 */
export function retireCounters(map: PerCpuMap<bigint, Counters>, cookie: bigint): void {
  const last = map.get(cookie);
  if (last === undefined) return;
  if (last.some(({ values }) => values.some((value) => value !== 0n))) {
    const before = map.get(RETIRED);
    const add = (cpu: number, index: number, value: bigint): bigint =>
      BigInt.asUintN(64, value + (before?.[cpu]?.values[index] ?? 0n));
    map.set(
      RETIRED,
      last.map(({ values }, cpu) => ({ values: values.map((value, index) => add(cpu, index, value)) })),
    );
  }
  map.delete(cookie);
}
