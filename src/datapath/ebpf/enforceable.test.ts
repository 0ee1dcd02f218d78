import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basePolicy, type RedirectPolicy } from '../../policy/policy.ts';
import { unenforceable } from './enforceable.ts';

const BASE = basePolicy(
  'kuma',
  { proxyUids: [1337], proxyGids: [] },
  { outbound: 15_001, inbound: 15_006, tunnel: null },
);

test('users, groups, families, sources, loopback and DNS are all enforceable', () => {
  const policy: RedirectPolicy = {
    ...BASE,
    families: { ip4: true, ip6: false },
    exempt: {
      uids: [{ first: 1, last: 2 }],
      includeGids: [0],
      excludeGids: [7],
      uidPorts: [{ protocols: 'tcp', ports: [{ first: 1, last: 9 }], uids: { first: 1, last: 2 } }],
    },
    loopback: {
      ...BASE.loopback,
      localhost4: '127.0.0.0/8',
      application: 'capture',
    },
    inbound: { ...BASE.inbound, excludeSources: ['10.0.0.0/8'] },
    dns: { ...BASE.dns, mode: 'all', target: { address: null, port: 15_053 } },
  };
  assert.deepEqual(unenforceable(policy), []);
});

const uidPort = { protocols: 'tcp' as const, ports: [], uids: { first: 1, last: 2 } };
const REFUSED: [setting: string, policy: RedirectPolicy][] = [
  ['exempt.uidPorts', { ...BASE, exempt: { ...BASE.exempt, uidPorts: Array(65).fill(uidPort) } }],
  [
    'loopback.sidecarLocalhostToPodIp',
    { ...BASE, loopback: { ...BASE.loopback, sidecarLocalhostToPodIp: true } },
  ],
  ['interfaces', { ...BASE, interfaces: { ...BASE.interfaces, exclude: ['net1'] } }],
  ['interfaces', { ...BASE, interfaces: { ...BASE.interfaces, reroute: ['k6t'] } }],
  [
    'interfaces.virtual',
    { ...BASE, interfaces: { ...BASE.interfaces, virtual: [{ name: 'br0', cidr: '10.0.0.0/8' }] } },
  ],
  ['misc.dropInvalid', { ...BASE, misc: { dropInvalid: true } }],
];
test("Open Service Mesh's localProxyMode PodIP is enforceable", () => {
  const loopback = { ...BASE.loopback, sidecarLocalhostToPodIp: true };
  assert.deepEqual(unenforceable({ ...BASE, mesh: 'osm', loopback }), []);
});

for (const [setting, policy] of REFUSED) {
  test(`${setting} is named as what cannot be enforced`, () => {
    const said = unenforceable(policy);
    assert.equal(said.length, 1, said.join('; '));
    assert.ok(said[0]?.startsWith(setting), said[0]);
  });
}
