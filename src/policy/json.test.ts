import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalPolicy, normalPolicy } from './json.ts';
import type { RedirectPolicy } from './policy.ts';
import { policyProblems } from './validate.ts';

const port = fc.integer({ min: 0, max: 65535 });
const ranges = fc.array(
  fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) })),
  { maxLength: 5 },
);
const cidr = fc.oneof(
  fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([address, bits]) => `${address}/${bits}`),
  fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })).map(([address, bits]) => `${address}/${bits}`),
);
const cidrs = fc.array(cidr, { maxLength: 5 });
const ids = fc.array(fc.nat(70_000), { minLength: 1, maxLength: 4 });

const idRange = fc
  .tuple(fc.nat(70_000), fc.nat(70_000))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const protocols = fc.constantFrom('tcp' as const, 'udp' as const, 'both' as const);
const interfaceName = fc.constantFrom('eth0', 'net1', 'br+', 'k6t-eth0');
const cidr4 = fc.integer({ min: 8, max: 32 }).map((bits) => `127.0.0.1/${bits}`);
const address = fc.oneof(fc.ipV4(), fc.ipV6());

const policy: fc.Arbitrary<RedirectPolicy> = fc.record({
  mesh: fc.constantFrom('istio', 'linkerd'),
  families: fc.record({ ip4: fc.constant(true), ip6: fc.boolean() }),
  identity: fc.record({ proxyUids: ids, proxyGids: ids }),
  exempt: fc.record({
    uids: fc.array(idRange, { maxLength: 3 }),
    includeGids: fc.oneof(fc.constant<'*'>('*'), ids),
    excludeGids: fc.array(fc.nat(70_000), { maxLength: 3 }),
    uidPorts: fc.array(fc.record({ protocols, ports: ranges, uids: idRange }), { maxLength: 3 }),
  }),
  ports: fc.record({
    outbound: fc.constant(15_001),
    inbound: fc.constant(15_006),
    tunnel: fc.option(fc.constant(15_008)),
  }),
  loopback: fc.record({
    localhost4: cidr4,
    application: fc.constantFrom('bypass-local', 'bypass-localhost', 'capture'),
    sidecar: fc.constantFrom('inbound', 'bypass'),
    passthroughSource: fc.boolean(),
    sidecarLocalhostToPodIp: fc.boolean(),
  }),
  outbound: fc.record({
    enabled: fc.boolean(),
    excludePorts: ranges,
    excludePortProtocols: protocols,
    includePorts: ranges,
    excludeCidrs: cidrs,
    includeCidrs: fc.oneof(fc.constant<'*'>('*'), cidrs),
  }),
  inbound: fc.record({
    enabled: fc.boolean(),
    includePorts: fc.oneof(fc.constant<'*'>('*'), ranges),
    excludePorts: ranges,
    excludeSources: cidrs,
  }),
  interfaces: fc.record({
    exclude: fc.array(interfaceName, { maxLength: 3 }),
    reroute: fc.array(interfaceName, { maxLength: 3 }),
    virtual: fc.array(fc.record({ name: interfaceName, cidr }), { maxLength: 3 }),
  }),
  dns: fc.record({
    mode: fc.constantFrom('off', 'all', 'servers', 'localhost'),
    servers: fc.array(address, { maxLength: 3 }),
    target: fc.record({ address: fc.option(address), port: fc.constant(15_053) }),
    tcp: fc.constantFrom('capture', 'bypass', 'as-other-tcp'),
    splitZones: fc.boolean(),
  }),
  misc: fc.record({ dropInvalid: fc.boolean() }),
});

test('the order of lists, duplicates and the spelling of CIDRs do not change the text', () => {
  fc.assert(
    fc.property(policy, (p) => {
      const twice = <T>(list: T[]) => [...list, ...list].reverse();
      const shuffled: RedirectPolicy = {
        misc: { ...p.misc },
        dns: { ...p.dns, servers: twice(p.dns.servers).map((text) => text.toUpperCase()) },
        interfaces: {
          virtual: twice(p.interfaces.virtual),
          reroute: twice(p.interfaces.reroute),
          exclude: twice(p.interfaces.exclude),
        },
        exempt: {
          ...p.exempt,
          uids: twice(p.exempt.uids),
          excludeGids: twice(p.exempt.excludeGids),
          uidPorts: twice(p.exempt.uidPorts).map(({ uids, ports, ...rest }) => ({
            uids,
            ports: twice(ports),
            ...rest,
          })),
        },
        families: { ip6: p.families.ip6, ip4: p.families.ip4 },
        inbound: {
          ...p.inbound,
          excludePorts: [...p.inbound.excludePorts, ...p.inbound.excludePorts].reverse(),
        },
        outbound: {
          ...p.outbound,
          excludeCidrs: p.outbound.excludeCidrs.toReversed().map((text) => text.toUpperCase()),
          excludePorts: p.outbound.excludePorts.toReversed(),
        },
        loopback: { ...p.loopback },
        ports: p.ports,
        identity: p.identity,
        mesh: p.mesh,
      };
      assert.equal(canonicalPolicy(shuffled), canonicalPolicy(p));
    }),
  );
});

test('the text reads back as the normal policy, which is valid and normal', () => {
  fc.assert(
    fc.property(policy, (p) => {
      const normal = normalPolicy(p);
      assert.deepEqual(JSON.parse(canonicalPolicy(p)), normal);
      assert.deepEqual(normalPolicy(normal), normal);
      assert.deepEqual(policyProblems(normal), []);
    }),
  );
});

test('two policies that differ in one value have two texts', () => {
  fc.assert(
    fc.property(policy, fc.nat(65_535), (p, extra) => {
      const text = canonicalPolicy(p);
      assert.notEqual(canonicalPolicy({ ...p, ports: { ...p.ports, outbound: 15_002 } }), text);
      assert.notEqual(
        canonicalPolicy({
          ...p,
          loopback: { ...p.loopback, passthroughSource: !p.loopback.passthroughSource },
        }),
        text,
      );
      const covered = p.outbound.excludePorts.some((r) => extra >= r.first && extra <= r.last);
      fc.pre(!covered);
      const more = [...p.outbound.excludePorts, { first: extra, last: extra }];
      assert.notEqual(canonicalPolicy({ ...p, outbound: { ...p.outbound, excludePorts: more } }), text);
    }),
  );
});

test('the order of uids is part of the policy', () => {
  const [sample] = fc.sample(policy, 1);
  assert.ok(sample);
  const one = { ...sample, identity: { proxyUids: [1, 2], proxyGids: [] } };
  const two = { ...sample, identity: { proxyUids: [2, 1], proxyGids: [] } };
  assert.notEqual(canonicalPolicy(one), canonicalPolicy(two));
});

test('IPv4 blocks come before IPv6 ones, each in the order of addresses', () => {
  const [sample] = fc.sample(policy, 1);
  assert.ok(sample);
  const excludeCidrs = ['fd00::/8', '10.10.0.0/16', '9.0.0.0/8', '10.0.0.0/8', '::1/128', '10.10.0.7/16'];
  const normal = normalPolicy({ ...sample, outbound: { ...sample.outbound, excludeCidrs } });
  assert.deepEqual(normal.outbound.excludeCidrs, [
    '9.0.0.0/8',
    '10.0.0.0/8',
    '10.10.0.0/16',
    '::1/128',
    'fd00::/8',
  ]);
});
