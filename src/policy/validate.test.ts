import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShuntError } from '../errors.ts';
import type { RedirectPolicy } from './policy.ts';
import { checkPolicy, policyProblems } from './validate.ts';

const GOOD: RedirectPolicy = {
  mesh: 'istio',
  identity: { proxyUids: [1337], proxyGids: [1337] },
  ports: { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
  loopback: { selfCallInbound: true, passthroughSource: true },
  outbound: { excludePorts: [], includePorts: [], excludeCidrs: ['10.0.0.0/8'], includeCidrs: '*' },
  inbound: { includePorts: '*', excludePorts: [{ first: 0, last: 65_535 }] },
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
