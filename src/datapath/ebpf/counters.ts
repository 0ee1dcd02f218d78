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
} as const satisfies Record<Exclude<Counter, 'COUNTER_MAX'>, string>;

const ORDER = Object.values(NAMES);

/** A pod's counters, summed over CPUs. All zero where it has none yet. */
export function readCounters(map: PerCpuMap<bigint, Counters>, cookie: bigint): Record<string, bigint> {
  const values = map.sum(cookie)?.values ?? [];
  return Object.fromEntries(ORDER.map((name, index) => [name, values[index] ?? 0n]));
}
