/** The rendered rules of every mesh, read by an interpreter that does not know the model, decide as `decideInOrder` says. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { type ConnectionFacts, decideAllNatively } from '../../src/datapath/ebpf/native_decision.ts';
import { renderDocument } from '../../src/datapath/iptables/render.ts';
import { parseAddress } from '../../src/policy/address.ts';
import { decideInOrder } from '../../src/policy/decision.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { Interpreter, type Verdict } from './interpreter.ts';
import { type Case, caseArbitrary, OWN, policyArbitrary } from './policies.ts';

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

const policies = fc.tuple(policyArbitrary, more).map(([policy, parts]): RedirectPolicy => {
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
const cases = fc
  .tuple(caseArbitrary, fc.constantFrom('tcp', 'udp', 'tcp'), fc.boolean())
  .map(([packet, proto, query]): Case => {
    return { ...packet, proto: proto as 'tcp' | 'udp', dport: query ? 53 : (packet.dport ?? 0) };
  });

it('rendered rules and the ordered decision agree for every mesh, every setting, TCP and UDP', (t) => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(
      policies,
      fc.array(cases, { minLength: 1, maxLength: 25, size: 'max' }),
      (policy, packets) => {
        const rules = {
          4: new Interpreter(renderDocument(policy, 4, OWN[4])),
          6: new Interpreter(renderDocument(policy, 6, OWN[6])),
        };
        for (const packet of packets) {
          const { verdict, rule } = decideInOrder(policy, connectionOf(packet));
          seen.set(rule, (seen.get(rule) ?? 0) + 1);
          const said = nameOf(rules[packet.family].run(packet).verdict, policy);
          assert.deepEqual(said, verdict, `${rule} ${JSON.stringify(packet)}`);
        }
      },
    ),
    { numRuns: 3000 },
  );
  t.diagnostic([...seen].map(([rule, count]) => `${rule} ${count}`).join(', '));
  assert.ok(seen.size >= 20, `only these rules decided: ${[...seen.keys()].join()}`);
});

it('bpf/policy.h and the ordered decision agree for every mesh, every setting but interfaces, TCP and UDP', () => {
  const sockets = policies.map((policy) => ({
    ...policy,
    interfaces: { exclude: [], reroute: [], virtual: [] },
    // The other orders have it elsewhere, and no mesh of them has it at all.
    loopback: {
      ...policy.loopback,
      sidecarLocalhostToPodIp: policy.loopback.sidecarLocalhostToPodIp && policy.mesh === 'osm',
    },
  }));
  fc.assert(
    fc.property(
      sockets,
      // Inbound datagrams reach no program.
      fc.array(
        cases.filter(({ hook, proto }) => hook === 'OUTPUT' || proto === 'tcp'),
        { minLength: 1, maxLength: 25, size: 'max' },
      ),
      (policy, packets) => {
        const ordered = packets.map((packet) => decideInOrder(policy, connectionOf(packet)).verdict);
        const native = decideAllNatively(policy, packets.map(factsOf)).map(({ verdict }) => verdict);
        assert.deepEqual(native, ordered, JSON.stringify(packets));
      },
    ),
    { numRuns: 1000 },
  );
});

function factsOf(packet: Case): ConnectionFacts {
  const { direction, protocol, to, from, port, uid, gid, local } = connectionOf(packet);
  const other = from ?? new Uint8Array(16);
  if (direction === 'inbound') return { direction, port, local, remote: other };
  return { direction, protocol, uid, gid, identityConfirmed: true, local, port, to, from: other };
}

function connectionOf(packet: Case): Parameters<typeof decideInOrder>[1] {
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

function nameOf(verdict: Verdict, { ports, dns }: RedirectPolicy): string {
  if (verdict.kind === 'accept') return 'pass';
  if (verdict.kind === 'dnat') return verdict.to.endsWith(':53') ? 'dns' : 'pod-address';
  if (verdict.kind !== 'redirect') return verdict.kind;
  if (verdict.port === ports.outbound) return 'outbound';
  if (verdict.port === ports.inbound) return 'inbound';
  return verdict.port === dns.target?.port ? 'dns' : JSON.stringify(verdict);
}
