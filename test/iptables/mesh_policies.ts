/** Random policies of every mesh, over every setting, and random connections. */
import fc from 'fast-check';
import { parseAddress } from '../../src/policy/address.ts';
import type { decideInOrder } from '../../src/policy/decision.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { type Case, caseArbitrary, policyArbitrary } from './policies.ts';

const MESHES = ['istio', 'linkerd', 'kuma', 'consul', 'osm', 'appmesh', 'acme'];

const some = <T>(...values: T[]) => fc.subarray(values);

/** What bpf/policy.h does not know, on top of what it does. */
const more = fc.record({
  mesh: fc.constantFrom(...MESHES),
  families: fc.record({ ip4: fc.boolean(), ip6: fc.constant(true) }),
  secondUid: fc.boolean(),
  exemptUids: some({ first: 1000, last: 1000 }, { first: 1338, last: 2000 }),
  uidPorts: some<RedirectPolicy['exempt']['uidPorts'][number]>(
    { protocols: 'both', ports: [{ first: 53, last: 80 }], uids: { first: 0, last: 1000 } },
    { protocols: 'tcp', ports: [{ first: 443, last: 443 }], uids: { first: 1338, last: 1338 } },
  ),
  includeGids: fc.oneof({ weight: 3, arbitrary: fc.constant('*' as const) }, some(0, 1337)),
  excludeGids: some(1000, 1338),
  localhost4: fc.constantFrom('127.0.0.1/32', '127.0.0.0/8'),
  podIp: fc.boolean(),
  dns: fc.constantFrom<RedirectPolicy['dns']['mode']>('off', 'all', 'servers', 'localhost'),
  dnsTo: fc.constantFrom({ address: null, port: 15_053 }, { address: '192.0.2.53', port: 53 }),
  dnsTcp: fc.constantFrom<RedirectPolicy['dns']['tcp']>('capture', 'bypass', 'as-other-tcp'),
  outboundOn: fc.boolean(),
  inboundOn: fc.boolean(),
  sources: some('10.1.0.0/16', '2001:db8::/32'),
  exclude: some('eth0', 'net+'),
  reroute: some('eth+'),
  virtual: some({ name: 'eth0', cidr: '10.0.0.0/8' }),
});

export const policies = fc.tuple(policyArbitrary, more).map(([policy, parts]): RedirectPolicy => {
  const { proxyUids, proxyGids } = policy.identity;
  return {
    ...policy,
    mesh: parts.mesh,
    families: parts.families,
    identity: { proxyUids: parts.secondUid ? [...proxyUids, 1000] : proxyUids, proxyGids },
    exempt: {
      uids: parts.exemptUids,
      includeGids: parts.includeGids,
      excludeGids: parts.excludeGids,
      uidPorts: parts.uidPorts,
    },
    loopback: { ...policy.loopback, localhost4: parts.localhost4, sidecarLocalhostToPodIp: parts.podIp },
    outbound: { ...policy.outbound, enabled: parts.outboundOn },
    inbound: { ...policy.inbound, enabled: parts.inboundOn, excludeSources: parts.sources },
    interfaces: { exclude: parts.exclude, reroute: parts.reroute, virtual: parts.virtual },
    dns: {
      mode: parts.dns,
      servers: ['10.1.2.3', '127.0.0.9', 'fd00::6'],
      target: parts.dns === 'off' ? null : parts.dnsTo,
      tcp: parts.dnsTcp,
      splitZones: true,
    },
  };
});
export const cases = fc
  .tuple(caseArbitrary, fc.constantFrom('tcp', 'udp', 'tcp'), fc.boolean())
  .map(([packet, proto, query]): Case => {
    return { ...packet, proto: proto as 'tcp' | 'udp', dport: query ? 53 : (packet.dport ?? 0) };
  });

export function connectionOf(packet: Case): Parameters<typeof decideInOrder>[1] {
  const { family, proto, src, dst, dport, uid, gid, iface, hook } = packet;
  const bytes = (text: string) => parseAddress(text) ?? new Uint8Array(16);
  const out = hook === 'OUTPUT';
  return {
    direction: out ? 'outbound' : 'inbound',
    protocol: proto === 'udp' ? 'udp' : 'tcp',
    family,
    to: bytes(dst),
    from: bytes(src),
    port: dport ?? 0,
    uid: uid ?? 0,
    gid: gid ?? 0,
    local: out && iface === 'lo',
    interface: iface,
  };
}
