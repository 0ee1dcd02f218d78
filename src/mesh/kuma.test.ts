import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';
import { parseUidPorts } from './kuma_settings.ts';
import { MESH_PROFILES, recognise } from './recognise.ts';

const policyOf = (name: string) => redirected(fixturePod('kuma', name)).policy;

test('the three ways of carrying the defaults make one policy', () => {
  const yaml = policyOf('cni-yaml');
  assert.deepEqual(policyOf('init-flags'), yaml);
  const annotations = fixturePod('kuma', 'cni-annotations');
  for (const word of ['exclude-inbound-ports', 'exclude-outbound-ports', 'exclude-outbound-ports-for-uids']) {
    delete annotations.metadata.annotations[`traffic.kuma.io/${word}`];
  }
  assert.deepEqual(redirected(annotations).policy, yaml);
  assert.deepEqual(yaml.identity, { proxyUids: [5678], proxyGids: [] });
  assert.deepEqual(yaml.ports, { outbound: 15_001, inbound: 15_006, tunnel: null });
  assert.deepEqual(yaml.inbound.excludePorts, ports(9001));
  assert.deepEqual(yaml.dns, {
    mode: 'all',
    servers: [],
    target: { address: null, port: 15_053 },
    tcp: 'bypass',
    splitZones: true,
  });
});

test('IPv6 needs dualstack and an address', () => {
  assert.equal(policyOf('cni-yaml').families.ip6, false);
  assert.equal(policyOf('cni-yaml-dual-stack').families.ip6, true);
  assert.equal(policyOf('cni-yaml-ipv4-mode').families.ip6, false);
});

test('a gateway is not captured inbound', () => {
  assert.equal(policyOf('cni-yaml-gateway').inbound.enabled, false);
  assert.equal(policyOf('cni-yaml-gateway').outbound.enabled, true);
  assert.equal(policyOf('init-flags-gateway').inbound.enabled, false);
});

test('queries to the servers of resolv.conf need the settings to name them', () => {
  const pod = fixturePod('kuma', 'cni-yaml-dns-servers');
  assert.equal(redirected(pod).notes.length, 1);
  const known = recognise(pod, MESH_PROFILES, { settings: { nameservers: ['10.96.0.10'] } });
  assert.ok(known.kind === 'redirect');
  assert.deepEqual(known.policy.dns.servers, ['10.96.0.10']);
  assert.equal(known.policy.dns.splitZones, false);
  assert.deepEqual(known.notes, []);
});

const EVERY_PORT = ports([1, 65_535]);
const UID_PORTS: [text: string, protocols: string, ports: unknown, uids: [number, number]][] = [
  ['1000', 'both', EVERY_PORT, [1000, 1000]],
  ['1000-1010', 'both', EVERY_PORT, [1000, 1010]],
  ['22:1000', 'both', ports(22), [1000, 1000]],
  ['tcp:22:1000', 'tcp', ports(22), [1000, 1000]],
  ['udp:53,80-90:7-8', 'udp', ports(53, [80, 90]), [7, 8]],
  ['*:*:7', 'both', EVERY_PORT, [7, 7]],
  ['tcp:*:7', 'tcp', EVERY_PORT, [7, 7]],
];
for (const [text, protocols, list, [first, last]] of UID_PORTS) {
  test(`ports for users: ${text}`, () => {
    assert.deepEqual(parseUidPorts(text), {
      ok: true,
      value: [{ protocols, ports: list, uids: { first, last } }],
    });
  });
}

test('ports for users that are none are refused', () => {
  for (const text of [
    'tcp:22:*',
    'tcp:22:',
    'sctp:1:2',
    'tcp:1:2:3',
    'x',
    '1,2',
    '22:1,2',
    'tcp:65536:1',
    '９',
    '-1',
  ]) {
    assert.equal(parseUidPorts(text).ok, false, text);
  }
});

test('a configuration that would cost the parser seconds is refused at once', () => {
  for (const text of ['['.repeat(200_000), 'x'.repeat(300_000), `{a: ${'{b: '.repeat(60)}`]) {
    const pod = fixturePod('kuma', 'cni-yaml');
    pod.metadata.annotations['traffic.kuma.io/transparent-proxy-config'] = text;
    assert.equal(recognise(pod).kind, 'reject');
  }
});

test('in init mode the annotation counts before the arguments, which may only name a file', () => {
  const pod = fixturePod('kuma', 'init-flags');
  const [init] = pod.spec.initContainers;
  assert.ok(init);
  init.args = ['--config=/tmp/kumactl/config.yaml'];
  assert.equal(recognise(pod).kind, 'reject');
  pod.metadata.annotations['traffic.kuma.io/transparent-proxy-config'] =
    'redirect: {outbound: {port: 16001}}';
  const { policy } = redirected(pod);
  assert.equal(policy.ports.outbound, 16_001);
  assert.equal(policy.dns.mode, 'off');
});

test('inbound ports for users make a rule that iptables refuses, so Kuma does too; not where nothing inbound is captured', () => {
  const withConfig = (config: string) => {
    const pod = fixturePod('kuma', 'cni-yaml');
    pod.metadata.annotations['traffic.kuma.io/transparent-proxy-config'] = config;
    return recognise(pod);
  };
  const refused = withConfig('redirect: {inbound: {excludePortsForUIDs: ["tcp:22:1000"]}}');
  assert.ok(refused.kind === 'reject');
  assert.equal(refused.notes[0]?.value, 'tcp:22:1000');
  assert.match(refused.notes[0]?.message ?? '', /which iptables refuses, so Kuma refuses the pod/);
  assert.equal(withConfig('redirect: {inbound: {excludePortsForUIDs: ["x"]}}').kind, 'reject');
  for (const config of [
    'redirect: {inbound: {excludePortsForUIDs: []}}',
    'redirect: {inbound: {enabled: false, excludePortsForUIDs: ["1000"]}}',
  ]) {
    const taken = withConfig(config);
    assert.ok(taken.kind === 'redirect', config);
    assert.deepEqual(taken.notes, []);
  }
});
