/**
 * What this backend cannot do yet. A policy with such a setting is refused as a whole: half of it would send traffic
 * where the mesh does not.
 */
import type { RedirectPolicy } from '../../policy/policy.ts';

interface Unenforceable {
  /** Whether the policy asks for it. */
  asks(policy: RedirectPolicy, has: Families): boolean;
  message: string;
}

type Families = RedirectPolicy['families'];

/**
 * Settings that Istio's pods commonly carry. They are said in the notes of the pod and not followed, as before there
 * was another backend; for other meshes they are refused.
 */
const notedForIstio =
  (asks: (policy: RedirectPolicy) => boolean) =>
  (policy: RedirectPolicy): boolean =>
    policy.mesh !== 'istio' && asks(policy);

/** Meshes whose sidecar takes outbound connections on 127.0.0.1 and ::1 alone; ours go to the pod's own address. */
const LISTENS_ON_LOCALHOST = ['linkerd', 'consul'];

const UNENFORCEABLE: readonly Unenforceable[] = [
  {
    asks: ({ mesh, outbound }) => outbound.enabled && LISTENS_ON_LOCALHOST.includes(mesh),
    message: 'ports.outbound: the sidecar listens on localhost alone',
  },
  {
    asks: ({ families }, has) => (has.ip4 && !families.ip4) || (has.ip6 && !families.ip6),
    message: 'families: one address family of the pod is not to be captured',
  },
  { asks: ({ exempt }) => exempt.uids.length > 0, message: 'exempt.uids: users that are not captured' },
  {
    asks: ({ exempt }) => exempt.uidPorts.length > 0,
    message: 'exempt.uidPorts: ports that are not captured for some users',
  },
  {
    asks: notedForIstio(({ exempt }) => exempt.includeGids !== '*' || exempt.excludeGids.length > 0),
    message: 'exempt.includeGids, exempt.excludeGids: groups that are not captured',
  },
  {
    asks: ({ loopback }) => loopback.localhost4 !== '127.0.0.1/32',
    message: 'loopback.localhost4: a localhost that is not 127.0.0.1 alone',
  },
  {
    asks: ({ loopback }) => loopback.application === 'capture',
    message: 'loopback.application: capture of connections to localhost',
  },
  {
    asks: ({ loopback }) => loopback.sidecarLocalhostToPodIp,
    message:
      "loopback.sidecarLocalhostToPodIp: the sidecar's connections to localhost go to the pod's address",
  },
  {
    asks: ({ inbound }) => inbound.enabled && inbound.excludeSources.length > 0,
    message: 'inbound.excludeSources: source blocks that are not captured',
  },
  {
    asks: notedForIstio(({ interfaces }) => interfaces.exclude.length + interfaces.reroute.length > 0),
    message: 'interfaces: rules for single interfaces',
  },
  {
    asks: ({ interfaces }) => interfaces.virtual.length > 0,
    message: 'interfaces.virtual: virtual networks behind the pod',
  },
  { asks: notedForIstio(({ dns }) => dns.mode !== 'off'), message: 'dns: capture of DNS queries' },
  {
    asks: notedForIstio(({ misc }) => misc.dropInvalid),
    message: 'misc.dropInvalid: packets that connection tracking calls invalid',
  },
];

/**
 * Settings of the policy that these programs cannot follow, a sentence for each; empty when all is enforced.
 *
 * @param has families that the pod has an address of: without one, nothing of the family is captured in any case
 */
export function unenforceable(policy: RedirectPolicy, has: Families = { ip4: true, ip6: true }): string[] {
  return UNENFORCEABLE.filter(({ asks }) => asks(policy, has)).map(({ message }) => message);
}
