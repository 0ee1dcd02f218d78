import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';
import { recognise } from './recognise.ts';

const policyOf = (name: string) => redirected(fixturePod('linkerd', name)).policy;
const SKIP = 'config.linkerd.io/skip-outbound-ports';

test('the defaults are those of the chart, in rules of IPv4', () => {
  const { policy, sidecarContainer } = redirected(fixturePod('linkerd', 'init-native'));
  assert.equal(sidecarContainer, 'linkerd-proxy');
  assert.deepEqual(policy.identity, { proxyUids: [2102], proxyGids: [] });
  assert.deepEqual(policy.ports, { outbound: 4140, inbound: 4143, tunnel: null });
  assert.deepEqual(policy.families, { ip4: true, ip6: false });
  assert.deepEqual(policy.inbound.excludePorts, ports([4190, 4191], [4567, 4568]));
  assert.deepEqual(policy.outbound.excludePorts, ports([4567, 4568]));
});

test("the proxy's calls to its own pod pass, and 127.0.0.6 is an address like others", () => {
  const { loopback, dns } = policyOf('cni-native');
  assert.equal(loopback.sidecar, 'bypass');
  assert.equal(loopback.application, 'bypass-local');
  assert.equal(loopback.passthroughSource, false);
  assert.equal(dns.mode, 'off');
});

test('init mode follows the arguments, and CNI mode adds its own ports to the inbound list', () => {
  assert.deepEqual(policyOf('init-skip-ports').inbound.excludePorts, ports(25, [4190, 4191], [8000, 8100]));
  assert.deepEqual(policyOf('cni-skip-ports').inbound.excludePorts, ports(25, 587, [4190, 4191]));
  assert.deepEqual(policyOf('cni-skip-ports').outbound.excludePorts, ports(3306));
});

test('subnets pass inbound by their source', () => {
  const { inbound, outbound, identity } = policyOf('init-skip-subnets');
  assert.deepEqual(inbound.excludeSources, ['10.0.0.0/8', '192.168.0.0/16']);
  assert.deepEqual(outbound.excludeCidrs, []);
  assert.deepEqual(identity.proxyGids, [2103]);
});

test('of listed ports the ignored ones are not captured', () => {
  assert.deepEqual(
    policyOf('init-redirect-listed').inbound.includePorts,
    ports([4000, 4189], [4192, 4200], 8080),
  );
});

test('a bad element is passed over with a note, and a list of nothing else is refused outbound', () => {
  for (const bad of ['http', ' 80', '80 ', '65536', '9-8', '1-2-3', '-1', '８０', '80\n', '0x50', '']) {
    const pod = fixturePod('linkerd', 'cni-native');
    pod.metadata.annotations[SKIP] = `${bad},3306`;
    const { policy, notes } = redirected(pod);
    assert.deepEqual(policy.outbound.excludePorts, ports(3306), JSON.stringify(bad));
    assert.deepEqual(
      notes.map(({ annotation }) => annotation),
      [SKIP],
      JSON.stringify(bad),
    );
    if (bad === '') continue;
    pod.metadata.annotations[SKIP] = bad;
    assert.equal(recognise(pod).kind, 'reject', JSON.stringify(bad));
  }
});

test('in CNI mode the namespace is asked after the pod, and the conflist last', () => {
  const pod = fixturePod('linkerd', 'cni-native');
  const namespace = { labels: {}, annotations: { [SKIP]: '1000', 'config.linkerd.io/proxy-uid': '7' } };
  const settings = {
    linkerd: {
      outboundPort: 5140,
      outboundPortsToIgnore: ['22'],
      inboundPortsToIgnore: ['23-25'],
      ipv6: true,
    },
  };
  const both = redirected(pod, { namespace, settings }).policy;
  assert.deepEqual(both.identity.proxyUids, [7]);
  assert.deepEqual(both.outbound.excludePorts, ports(1000));
  assert.deepEqual(both.inbound.excludePorts, ports([23, 25], [4190, 4191]));
  assert.equal(both.ports.outbound, 5140);
  assert.equal(both.families.ip6, true);
  pod.metadata.annotations[SKIP] = '2000';
  assert.deepEqual(redirected(pod, { namespace, settings }).policy.outbound.excludePorts, ports(2000));
  delete pod.metadata.annotations[SKIP];
  assert.deepEqual(redirected(pod, { settings }).policy.outbound.excludePorts, ports(22));
});

test('a pod of the control plane passes to the API server in CNI mode', () => {
  assert.deepEqual(policyOf('cni-control-plane').outbound.excludePorts, ports(443, 6443));
});

test("the timeout of half-closed connections is linkerd-init's to set, and in CNI mode nobody's", () => {
  const init = (seconds: string) => {
    const pod = fixturePod('linkerd', 'init-equals-and-unknown');
    const container = pod.spec.initContainers.find(({ name }) => name === 'linkerd-init');
    assert.ok(container);
    container.args = container.args.map((word) =>
      word.startsWith('--timeout-close-wait-secs') ? `--timeout-close-wait-secs=${seconds}` : word,
    );
    return recognise(pod);
  };
  const set = init('30');
  assert.ok(set.kind === 'redirect');
  assert.deepEqual(set.notes, []);
  assert.equal(init('30s').kind, 'reject');
  const pod = fixturePod('linkerd', 'cni-native');
  pod.metadata.annotations['config.linkerd.io/close-wait-timeout'] = '30s';
  const cni = recognise(pod);
  assert.ok(cni.kind === 'redirect');
  assert.match(cni.notes[0]?.message ?? '', /as by Linkerd's own CNI plugin/);
});
