import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basePolicy, type RedirectPolicy } from '../../policy/policy.ts';
import { unenforceable } from './enforceable.ts';

const policyOf = (mesh: string) =>
  basePolicy(mesh, { proxyUids: [1337], proxyGids: [] }, { outbound: 15_001, inbound: 15_006, tunnel: null });
const OTHER = policyOf('kuma');
const ISTIO = policyOf('istio');

test('a policy of what every mesh does is enforceable', () => {
  assert.deepEqual(unenforceable(OTHER), []);
  const consul: RedirectPolicy = {
    ...OTHER,
    loopback: {
      ...OTHER.loopback,
      application: 'bypass-localhost',
      sidecar: 'bypass',
      passthroughSource: false,
    },
    inbound: { ...OTHER.inbound, enabled: false, excludeSources: ['10.0.0.0/8'] },
  };
  assert.deepEqual(unenforceable(consul), []);
});

const REFUSED: [setting: string, policy: RedirectPolicy][] = [
  ['families', { ...OTHER, families: { ip4: true, ip6: false } }],
  ['exempt.uids', { ...OTHER, exempt: { ...OTHER.exempt, uids: [{ first: 1, last: 2 }] } }],
  [
    'exempt.uidPorts',
    {
      ...OTHER,
      exempt: { ...OTHER.exempt, uidPorts: [{ protocols: 'tcp', ports: [], uids: { first: 1, last: 2 } }] },
    },
  ],
  ['exempt.includeGids', { ...OTHER, exempt: { ...OTHER.exempt, includeGids: [] } }],
  ['loopback.localhost4', { ...ISTIO, loopback: { ...ISTIO.loopback, localhost4: '127.0.0.0/8' } }],
  ['loopback.application', { ...OTHER, loopback: { ...OTHER.loopback, application: 'capture' } }],
  [
    'loopback.sidecarLocalhostToPodIp',
    { ...OTHER, loopback: { ...OTHER.loopback, sidecarLocalhostToPodIp: true } },
  ],
  ['inbound.excludeSources', { ...OTHER, inbound: { ...OTHER.inbound, excludeSources: ['10.0.0.0/8'] } }],
  ['interfaces', { ...OTHER, interfaces: { ...OTHER.interfaces, exclude: ['net1'] } }],
  [
    'interfaces.virtual',
    { ...OTHER, interfaces: { ...OTHER.interfaces, virtual: [{ name: 'br0', cidr: '10.0.0.0/8' }] } },
  ],
  ['dns', { ...OTHER, dns: { ...OTHER.dns, mode: 'all', target: { address: null, port: 15_053 } } }],
  ['misc.dropInvalid', { ...OTHER, misc: { dropInvalid: true } }],
];
for (const [setting, policy] of REFUSED) {
  test(`${setting} is named as what cannot be enforced`, () => {
    const said = unenforceable(policy);
    assert.equal(said.length, 1, said.join('; '));
    assert.ok(said[0]?.startsWith(setting), said[0]);
  });
}

test('a family that the pod has no address of needs no switch', () => {
  const policy: RedirectPolicy = { ...OTHER, families: { ip4: true, ip6: false } };
  assert.deepEqual(unenforceable(policy, { ip4: true, ip6: false }), []);
});

test("what Istio's pods commonly carry is left to their notes", () => {
  const policy: RedirectPolicy = {
    ...ISTIO,
    exempt: { ...ISTIO.exempt, includeGids: [0], excludeGids: [7] },
    interfaces: { ...ISTIO.interfaces, exclude: ['net1'], reroute: ['k6t'] },
    dns: { ...ISTIO.dns, mode: 'all', target: { address: null, port: 15_053 } },
    misc: { dropInvalid: true },
  };
  assert.deepEqual(unenforceable(policy), []);
});
