import { APP_PORT, type Role } from '../../lab/host.ts';
import { HEALTH_PORT, OTHER_PORT } from '../../lab/lab.ts';
import type { Bed, HostName } from './bed.ts';

export type HopName = 'a outbound' | 'a inbound' | 'b outbound' | 'b inbound';

/** One connection and the sidecars it has to pass, in order. An empty list is a direct connection. */
export interface ConnectionScenario {
  name: string;
  from: { host: HostName; role: Role };
  to: {
    /** `localhost` is the client's own. */
    host: HostName | 'localhost';
    port: number;
    family: 4 | 6;
    /** IPv4 address on an IPv6 socket. */
    mapped?: boolean;
  };
  through: readonly HopName[] | Record<Bed['backend'], readonly HopName[]>;
  /** With curl in place of the bed's own client. */
  curl?: boolean;
  /** A counter of the client's pod that has to rise, where programs keep one. */
  counts?: string;
  explanation: string | Record<Bed['backend'], string>;
}

const APP_A = { host: 'a', role: 'app' } as const;
const OUTSIDE_APP = { host: 'outside', role: 'app' } as const;
const OVER_BOTH = ['a outbound', 'b inbound'] as const;

/** What a mesh user relies on, as data. The same list runs under iptables, which says whether it is right. */
export const CONNECTIONS: readonly ConnectionScenario[] = [
  {
    name: 'outbound',
    from: APP_A,
    to: { host: 'outside', port: APP_PORT, family: 4 },
    through: ['a outbound'],
    explanation: 'the app dials an outside host; its sidecar accepts, and learns where the app meant to go',
  },
  {
    name: 'outbound IPv6',
    from: APP_A,
    to: { host: 'outside', port: APP_PORT, family: 6 },
    through: ['a outbound'],
    explanation: 'the same over IPv6',
  },
  {
    name: 'outbound IPv4-mapped',
    from: APP_A,
    to: { host: 'outside', port: APP_PORT, family: 4, mapped: true },
    through: ['a outbound'],
    explanation: 'an IPv6 socket that dials ::ffff:a.b.c.d, as Java does, is IPv4 traffic',
  },
  {
    name: 'pod to pod',
    from: APP_A,
    to: { host: 'b', port: APP_PORT, family: 4 },
    through: OVER_BOTH,
    explanation:
      'same node: out through one sidecar, in through the other; app b sees the passthrough source',
  },
  {
    name: 'pod to pod IPv6',
    from: APP_A,
    to: { host: 'b', port: APP_PORT, family: 6 },
    through: OVER_BOTH,
    explanation: 'the same over IPv6, with ::6 as passthrough source',
  },
  {
    name: 'pod to pod, curl',
    from: APP_A,
    to: { host: 'b', port: APP_PORT, family: 4 },
    through: OVER_BOTH,
    curl: true,
    explanation: 'a program that knows nothing of all this',
  },
  {
    name: 'inbound',
    from: OUTSIDE_APP,
    to: { host: 'a', port: APP_PORT, family: 4 },
    through: ['a inbound'],
    explanation: {
      ebpf: 'from the wire: steered to the sidecar by the socket lookup, with its real destination',
      iptables: 'from the wire: redirected to the sidecar, which learns its real destination',
    },
  },
  {
    name: 'inbound IPv6',
    from: OUTSIDE_APP,
    to: { host: 'a', port: APP_PORT, family: 6 },
    through: ['a inbound'],
    explanation: 'the same over IPv6',
  },
  {
    name: 'own pod IP, app',
    from: APP_A,
    to: { host: 'a', port: APP_PORT, family: 4 },
    through: [],
    explanation: 'an app that dials its own pod stays inside it, as with Istio',
  },
  {
    name: 'own pod IP, sidecar',
    from: { host: 'a', role: 'sidecar' },
    to: { host: 'a', port: APP_PORT, family: 4 },
    through: ['a inbound'],
    explanation: 'a sidecar that dials its own pod is inbound traffic of that pod (self-call)',
  },
  {
    name: 'localhost',
    from: APP_A,
    to: { host: 'localhost', port: APP_PORT, family: 4 },
    through: [],
    explanation: 'loopback is never captured',
  },
  {
    name: 'excluded port',
    from: APP_A,
    to: { host: 'outside', port: OTHER_PORT, family: 4 },
    through: [],
    explanation: `annotation excludeOutboundPorts: "${OTHER_PORT}" lets it out directly`,
  },
  {
    name: 'health port, inbound',
    from: OUTSIDE_APP,
    to: { host: 'a', port: HEALTH_PORT, family: 4 },
    through: [],
    explanation: `port ${HEALTH_PORT} is excluded inbound by default: probes reach their own listener`,
  },
  {
    name: 'app posing as uid 1337',
    from: { host: 'a', role: 'impostor' },
    to: { host: 'outside', port: APP_PORT, family: 4 },
    through: { ebpf: ['a outbound'], iptables: [] },
    counts: 'impersonated',
    explanation: {
      ebpf: "the sidecar's uid from the app's cgroup: captured all the same, and counted (iptables lets it out)",
      iptables: "the sidecar's uid is all that iptables knows it by: let out, where eBPF captures it",
    },
  },
];

/** The hops that a scenario has to take on this bed. */
export function hopsOf(scenario: ConnectionScenario, backend: Bed['backend']): readonly HopName[] {
  return 'ebpf' in scenario.through ? scenario.through[backend] : scenario.through;
}

/** What a scenario shows on this bed. */
export function explanationOf({ explanation }: ConnectionScenario, backend: Bed['backend']): string {
  return typeof explanation === 'string' ? explanation : explanation[backend];
}
