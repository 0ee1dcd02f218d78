import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShuntError } from '../errors.ts';
import { basePolicy, type RedirectPolicy } from './policy.ts';
import { checkPolicy, policyProblems } from './validate.ts';

const BASE = basePolicy(
  'istio',
  { proxyUids: [1337], proxyGids: [1337] },
  { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
);
const GOOD: RedirectPolicy = {
  ...BASE,
  outbound: { ...BASE.outbound, excludeCidrs: ['10.0.0.0/8'] },
  inbound: { ...BASE.inbound, excludePorts: [{ first: 0, last: 65_535 }], excludeSources: ['fd00::/8'] },
  exempt: {
    uids: [{ first: 0, last: 4_294_967_294 }],
    includeGids: [0, 7],
    excludeGids: [9],
    uidPorts: [{ protocols: 'udp', ports: [{ first: 53, last: 53 }], uids: { first: 5, last: 6 } }],
  },
  interfaces: { exclude: ['net1'], reroute: ['k6t-eth0'], virtual: [{ name: 'br+', cidr: '172.17.0.0/16' }] },
  dns: {
    mode: 'servers',
    servers: ['10.96.0.10', 'fd00::a'],
    target: { address: '127.0.0.1', port: 8600 },
    tcp: 'capture',
    splitZones: true,
  },
};

test('a good policy has no problem', () => {
  assert.deepEqual(policyProblems(GOOD), []);
  assert.doesNotThrow(() => checkPolicy(GOOD));
});

type Sections = { [K in keyof RedirectPolicy]?: Partial<RedirectPolicy[K]> };

/** The good policy with some fields of some sections replaced. */
function withFields(sections: Sections): RedirectPolicy {
  const merged = Object.entries(sections).map(([key, fields]) => [
    key,
    { ...Object(GOOD[key as keyof RedirectPolicy]), ...Object(fields) },
  ]);
  return { ...GOOD, ...Object.fromEntries(merged) };
}

const range = (first: number, last = first) => [{ first, last }];

const BAD: [name: string, sections: Sections, says: RegExp][] = [
  ['a fifth uid', { identity: { proxyUids: [1, 2, 3, 4, 5] } }, /proxyUids: 5 ids, at most 4/],
  ['a fifth gid', { identity: { proxyGids: [1, 2, 3, 4, 5] } }, /proxyGids: 5 ids/],
  ['a negative uid', { identity: { proxyUids: [-1] } }, /proxyUids: -1/],
  ['the uid that means none', { identity: { proxyUids: [4_294_967_295] } }, /proxyUids: 4294967295/],
  ['no identity', { identity: { proxyUids: [], proxyGids: [] } }, /neither a uid nor a gid/],
  ['outbound port 0', { ports: { outbound: 0 } }, /ports.outbound: 0/],
  ['inbound port 65536', { ports: { inbound: 65_536 } }, /ports.inbound: 65536/],
  ['tunnel port 0', { ports: { tunnel: 0 } }, /ports.tunnel: 0/],
  ['port NaN', { ports: { outbound: Number.NaN } }, /ports.outbound: NaN/],
  ['port 65536 in a list', { outbound: { excludePorts: range(65_536) } }, /65536 is not a port/],
  ['a range backwards', { outbound: { includePorts: range(9, 8) } }, /9-8 is not a port or a range/],
  ['half a port', { inbound: { includePorts: range(0.5, 1) } }, /0.5-1/],
  ['a word for a CIDR', { outbound: { excludeCidrs: ['everything'] } }, /"everything" is not a CIDR/],
  ['neither family', { families: { ip4: false, ip6: false } }, /families: neither/],
  ['exempt uids backwards', { exempt: { uids: [{ first: 9, last: 8 }] } }, /exempt.uids: 9-8/],
  ['a group that is no number', { exempt: { includeGids: [Number.NaN] } }, /includeGids: NaN/],
  ['the gid that means none', { exempt: { excludeGids: [4_294_967_295] } }, /excludeGids: 4294967295/],
  ['a localhost elsewhere', { loopback: { localhost4: '10.0.0.0/8' } }, /localhost4: "10.0.0.0\/8" is not/],
  ['a localhost too wide', { loopback: { localhost4: '127.0.0.0/7' } }, /localhost4: "127.0.0.0\/7"/],
  ['a localhost of IPv6', { loopback: { localhost4: '::1/128' } }, /localhost4/],
  [
    'a source that is an address',
    { inbound: { excludeSources: ['10.0.0.1'] } },
    /excludeSources: "10.0.0.1" is not a CIDR/,
  ],
  ['a shell as interface', { interfaces: { exclude: ['$(id)'] } }, /exclude: "\$\(id\)" is not the name/],
  ['an option as interface', { interfaces: { reroute: ['-j'] } }, /reroute: "-j"/],
  ['a long interface', { interfaces: { exclude: ['a123456789012345'] } }, /is not the name/],
  ['a line as interface', { interfaces: { exclude: ['eth0\n-A'] } }, /is not the name/],
  [
    'a network without length',
    { interfaces: { virtual: [{ name: 'br0', cidr: '10.0.0.0' }] } },
    /virtual: "10.0.0.0"/,
  ],
  ['queries that go nowhere', { dns: { target: null } }, /queries are captured, but go nowhere/],
  ['a DNS port 0', { dns: { target: { address: null, port: 0 } } }, /dns.target: 0/],
  ['a DNS target that is a name', { dns: { target: { address: 'dns', port: 53 } } }, /dns.target: "dns"/],
  ['a server in a long form', { dns: { servers: ['FD00::0:A'] } }, /dns.servers: "FD00::0:A"/],
  ['host bits', { outbound: { includeCidrs: ['10.0.0.1/8'] } }, /to be written 10.0.0.0\/8/],
];

for (const [name, sections, says] of BAD) {
  test(`${name} is a problem, said with its field`, () => {
    const policy = withFields(sections);
    const problems = policyProblems(policy);
    assert.equal(problems.length, 1, problems.join('; '));
    assert.match(problems[0] ?? '', says);
    assert.throws(
      () => checkPolicy(policy, 'pod default/web'),
      (error) => error instanceof ShuntError && error.code === 'SHUNT_E_POLICY' && says.test(error.message),
    );
  });
}

test('every problem is said, not the first only', () => {
  const policy = structuredClone(GOOD);
  policy.ports.outbound = 0;
  policy.outbound.excludeCidrs = ['x', 'y'];
  assert.equal(policyProblems(policy).length, 3);
});
