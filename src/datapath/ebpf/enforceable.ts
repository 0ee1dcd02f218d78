/**
 * What this backend cannot do. A policy with such a setting is refused as a whole: half of it would send traffic where
 * the mesh does not. The agent gives such a pod to the iptables backend.
 */
import { orderOf } from '../../policy/order.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { MAX_UID_PORTS } from './policy_entries.ts';

/** What of a policy is beyond eBPF, for metrics: few, and never renamed. */
export type Beyond = 'uid-ports' | 'pod-ip-order' | 'interfaces' | 'virtual-networks' | 'drop-invalid';

interface Unenforceable {
  kind: Beyond;
  /** Whether the policy asks for it. */
  asks(policy: RedirectPolicy): boolean;
  message: string;
}

const UNENFORCEABLE: readonly Unenforceable[] = [
  {
    kind: 'uid-ports',
    asks: ({ exempt }) => exempt.uidPorts.length > MAX_UID_PORTS,
    message: `exempt.uidPorts: more than ${MAX_UID_PORTS} entries`,
  },
  {
    kind: 'pod-ip-order',
    // policy.h asks for it first, as Open Service Mesh does, which alone has it.
    asks: ({ mesh, loopback }) => loopback.sidecarLocalhostToPodIp && orderOf(mesh)[0] !== 'pod-ip',
    message: "loopback.sidecarLocalhostToPodIp: in an order that is not Open Service Mesh's",
  },
  {
    kind: 'interfaces',
    // A socket hook sees no interface, and no hook of sockets sees what is only forwarded.
    asks: ({ interfaces }) => interfaces.exclude.length + interfaces.reroute.length > 0,
    message: 'interfaces: rules for single interfaces',
  },
  {
    kind: 'virtual-networks',
    asks: ({ interfaces }) => interfaces.virtual.length > 0,
    message: 'interfaces.virtual: virtual networks behind the pod',
  },
  {
    kind: 'drop-invalid',
    asks: ({ misc }) => misc.dropInvalid,
    message: 'misc.dropInvalid: packets that connection tracking calls invalid',
  },
];

/** Settings of the policy that these programs cannot follow, a sentence for each; empty when all is enforced. */
export function unenforceable(policy: RedirectPolicy): string[] {
  return UNENFORCEABLE.filter(({ asks }) => asks(policy)).map(({ message }) => message);
}

/** The same, by kind. */
export function beyond(policy: RedirectPolicy): Beyond[] {
  return UNENFORCEABLE.filter(({ asks }) => asks(policy)).map(({ kind }) => kind);
}
