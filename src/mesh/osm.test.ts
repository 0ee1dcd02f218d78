import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';
import { readOsmScript } from './osm_script.ts';

const policyOf = (name: string) => redirected(fixturePod('osm', name)).policy;

test('the defaults, of IPv4 whatever the pod has', () => {
  const { policy, sidecarContainer } = redirected(fixturePod('osm', 'dual-stack-pod'));
  assert.equal(sidecarContainer, 'envoy');
  assert.deepEqual(policy.families, { ip4: true, ip6: false });
  assert.deepEqual(policy.identity, { proxyUids: [1500], proxyGids: [] });
  assert.deepEqual(policy.ports, { outbound: 15_001, inbound: 15_003, tunnel: null });
  assert.deepEqual(policy.inbound.excludePorts, ports(15_010, [15_901, 15_904]));
  assert.equal(policy.loopback.sidecar, 'inbound');
  assert.equal(policy.loopback.passthroughSource, false);
});

test('the script says what MeshConfig said', () => {
  const { outbound, inbound, interfaces, loopback } = policyOf('everything');
  assert.deepEqual(outbound.excludePorts, ports([1, 3]));
  assert.deepEqual(outbound.excludeCidrs, ['10.0.0.0/8', '11.0.0.0/8']);
  assert.deepEqual(outbound.includeCidrs, ['0.0.0.0/0']);
  assert.deepEqual(inbound.excludePorts, ports([4, 5], 15_010, [15_901, 15_904]));
  assert.deepEqual(interfaces.exclude, ['eth1']);
  assert.equal(loopback.sidecarLocalhostToPodIp, true);
});

test('osm-edge has its own resolver beside localhost', () => {
  const { policy, sidecarContainer } = redirected(fixturePod('osm', 'edge-default'));
  assert.equal(sidecarContainer, 'sidecar');
  assert.deepEqual(policy.dns.servers, ['127.0.0.153']);
  assert.deepEqual(policy.dns.target, { address: '127.0.0.153', port: 5300 });
});

test('the first versions had no rules for lo', () => {
  const { loopback } = policyOf('older-commands');
  assert.equal(loopback.sidecar, 'bypass');
  assert.equal(loopback.application, 'bypass-localhost');
});

test('a script without the chains is none, and a rule that is not known is kept as such', () => {
  assert.equal(readOsmScript('sleep 1'), null);
  const script = readOsmScript('-A OSM_PROXY_OUTBOUND -p udp -j ACCEPT\n'.repeat(1000));
  assert.equal(script?.unknown.length, 10);
});
