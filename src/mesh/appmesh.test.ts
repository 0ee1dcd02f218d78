import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';

const policyOf = (name: string) => redirected(fixturePod('appmesh', name)).policy;

test('both modes make one policy of one configuration', () => {
  const policy = policyOf('init-default');
  assert.deepEqual(policyOf('cni-default'), policy);
  assert.deepEqual(policyOf('cni-fargate'), policy);
  assert.deepEqual(policy.identity, { proxyUids: [1337], proxyGids: [] });
  assert.deepEqual(policy.ports, { outbound: 15_001, inbound: 15_000, tunnel: null });
  assert.equal(policy.loopback.sidecar, 'bypass');
});

test('inbound only the listed ports are captured, and 0 is none', () => {
  assert.deepEqual(policyOf('init-many-ports').inbound.includePorts, ports(8080, 8443, 9090));
  assert.deepEqual(policyOf('init-no-listeners').inbound.includePorts, []);
});

test('port 22 always passes, and without addresses the script has its own', () => {
  assert.deepEqual(policyOf('init-many-ports').outbound.excludePorts, ports(22, 3306, 5432));
  assert.deepEqual(policyOf('init-no-ips').outbound.excludeCidrs, ['169.254.169.254/32', '169.254.170.2/32']);
});

test('IPv6 is what the environment or the annotation says', () => {
  assert.equal(policyOf('init-dual-stack').families.ip6, true);
  assert.equal(policyOf('cni-lists').families.ip6, true);
  assert.equal(policyOf('cni-ipv6-disabled').families.ip6, false);
});
