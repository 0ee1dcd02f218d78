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

const policy: fc.Arbitrary<RedirectPolicy> = fc.record({
  mesh: fc.constantFrom('istio', 'linkerd'),
  identity: fc.record({ proxyUids: ids, proxyGids: ids }),
  ports: fc.record({
    outbound: fc.constant(15_001),
    inbound: fc.constant(15_006),
    tunnel: fc.option(fc.constant(15_008)),
  }),
  loopback: fc.record({ selfCallInbound: fc.boolean(), passthroughSource: fc.boolean() }),
  outbound: fc.record({
    excludePorts: ranges,
    includePorts: ranges,
    excludeCidrs: cidrs,
    includeCidrs: fc.oneof(fc.constant<'*'>('*'), cidrs),
  }),
  inbound: fc.record({ includePorts: fc.oneof(fc.constant<'*'>('*'), ranges), excludePorts: ranges }),
});

test('the order of lists, duplicates and the spelling of CIDRs do not change the text', () => {
  fc.assert(
    fc.property(policy, (p) => {
      const shuffled: RedirectPolicy = {
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
        canonicalPolicy({ ...p, loopback: { ...p.loopback, selfCallInbound: !p.loopback.selfCallInbound } }),
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
