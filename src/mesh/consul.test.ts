import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';
import { recognise } from './recognise.ts';

const CONFIG = 'consul.hashicorp.com/redirect-traffic-config';
const policyOf = (name: string) => redirected(fixturePod('consul', name)).policy;

test('both modes make one policy of one configuration', () => {
  const policy = policyOf('cni-default');
  assert.deepEqual(policyOf('init-default'), policy);
  assert.deepEqual(policy.identity, { proxyUids: [5995], proxyGids: [] });
  assert.deepEqual(policy.ports, { outbound: 15_001, inbound: 20_000, tunnel: null });
  assert.deepEqual(policy.exempt.uids, [{ first: 5996, last: 5996 }]);
  assert.deepEqual(policy.inbound.excludePorts, ports(21_000));
});

test('only localhost itself passes: there is no rule about lo', () => {
  const { loopback } = policyOf('cni-default');
  assert.equal(loopback.application, 'bypass-localhost');
  assert.equal(loopback.sidecar, 'bypass');
  assert.equal(loopback.passthroughSource, false);
});

test('DNS goes to a port of localhost, or to a server, or nowhere', () => {
  assert.equal(policyOf('cni-default').dns.mode, 'localhost');
  assert.deepEqual(policyOf('cni-default').dns.target, { address: null, port: 8600 });
  assert.equal(policyOf('cni-dns-server').dns.mode, 'all');
  assert.deepEqual(policyOf('cni-dns-server').dns.target, { address: '10.34.16.20', port: 53 });
  assert.equal(policyOf('cni-no-dns').dns.mode, 'off');
});

test('IPv6 is captured in dual stack alone', () => {
  assert.equal(policyOf('cni-dual-stack').families.ip6, true);
  assert.equal(policyOf('cni-default').families.ip6, false);
  assert.equal(policyOf('cni-before-dual-stack').families.ip6, false);
});

test('in init mode the environment counts', () => {
  const policy = policyOf('init-lists');
  assert.equal(policy.ports.inbound, 20_001);
  assert.deepEqual(policy.outbound.excludeCidrs, ['10.0.0.0/8']);
});

test('a configuration of another shape is refused, whatever the shape', () => {
  for (const text of [
    '',
    'null',
    '[]',
    '7',
    '"x"',
    '{}',
    '{"ProxyUserID":"5995"}',
    '{"ProxyUserID":5995,"ProxyInboundPort":20000}',
  ]) {
    const pod = fixturePod('consul', 'cni-default');
    pod.metadata.annotations[CONFIG] = text;
    assert.equal(recognise(pod).kind, 'reject', text);
  }
});

test('ten thousand slips make a few notes', () => {
  const pod = fixturePod('consul', 'cni-default');
  const slips = Array.from({ length: 10_000 }, (_, i) => `x${i}`);
  pod.metadata.annotations[CONFIG] = JSON.stringify({
    ProxyUserID: '5995',
    ProxyInboundPort: 20_000,
    ExcludeOutboundPorts: slips,
  });
  const answer = recognise(pod);
  assert.ok(answer.kind === 'reject' && answer.notes.length <= 20);
});
