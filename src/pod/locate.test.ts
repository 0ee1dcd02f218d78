import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testCgroup, testNetns } from '../../test/fixtures/kernel.ts';
import { type ErrorCode, ShuntError } from '../errors.ts';
import { locatePod, podName } from './locate.ts';
import { resolveNetns } from './netns.ts';
import type { PodObject } from './workload.ts';

function podWith(annotations: Record<string, string>, podIPs: string[] = []): PodObject {
  return {
    metadata: { name: 'web', namespace: 'shop', labels: {}, annotations },
    spec: { hostNetwork: false, containers: [], initContainers: [] },
    status: { podIPs },
  };
}

const code = (expected: ErrorCode) => (error: unknown) =>
  error instanceof ShuntError && error.code === expected;

test('a pod is found by its annotations, with the addresses of its status', () => {
  using netns = testNetns('a', ['10.9.0.7/24', '10.9.0.8/24', '2001:db8::7/64']);
  using pod = testCgroup('a');
  using sidecar = pod.child('istio-proxy');
  const annotations = { 'shunt.dev/netns': netns.path, 'shunt.dev/cgroup': pod.path };
  const place = locatePod(podWith(annotations, ['10.9.0.8']), 'istio-proxy');
  assert.deepEqual(place.netns, resolveNetns(netns.path));
  assert.equal(place.sidecarCgroup?.path, sidecar.path);
  assert.equal(place.ip4, '10.9.0.8');
  assert.equal(place.ip6, null, 'a family that the status leaves out is not guessed');
});

test("without a status, the pod's addresses are the first global ones of its interfaces", () => {
  using netns = testNetns('b', ['169.254.7.7/16', '10.9.0.9/24', '10.9.0.7/24', '2001:db8::7/64']);
  netns.ip('address', 'add', '::6/128', 'dev', 'lo');
  netns.ip('address', 'add', '10.0.0.1/32', 'dev', 'far0');
  const place = locatePod(podWith({ 'shunt.dev/netns': netns.path }), 'istio-proxy');
  const first = resolveNetns(netns.path).addresses.find((address) => address.startsWith('10.'));
  assert.equal(place.ip4, first);
  assert.equal(place.ip6, '2001:db8::7');
  assert.equal(place.sidecarCgroup, null);
});

test('a namespace without global addresses gives none', () => {
  using netns = testNetns('c');
  const place = locatePod(podWith({ 'shunt.dev/netns': netns.path }), 'istio-proxy');
  assert.deepEqual([place.ip4, place.ip6], [null, null]);
});

test('an address of the status that the namespace does not have is refused', () => {
  using netns = testNetns('d', ['10.9.0.7/24']);
  const annotations = { 'shunt.dev/netns': netns.path };
  assert.throws(
    () => locatePod(podWith(annotations, ['10.9.0.7', '10.9.0.99']), 'c'),
    code('SHUNT_E_POD_IP_MISMATCH'),
  );
});

test('a pod that does not say where it is, or says wrong, is refused', () => {
  assert.throws(() => locatePod(podWith({}), 'c'), code('SHUNT_E_POD_NO_NETNS'));
  assert.throws(
    () => locatePod(podWith({ 'shunt.dev/netns': '/run/netns/none' }), 'c'),
    code('SHUNT_E_NETNS_MISSING'),
  );
  assert.throws(
    () => locatePod(podWith({ 'shunt.dev/netns': '/proc/self/ns/net' }), 'c'),
    code('SHUNT_E_NETNS_HOST'),
  );
  using netns = testNetns('e');
  const lost = { 'shunt.dev/netns': netns.path, 'shunt.dev/cgroup': 'shunt-test-none' };
  assert.throws(() => locatePod(podWith(lost), 'c'), code('SHUNT_E_CGROUP_MISSING'));
});

test('a pod without a uid is known by its name', () => {
  assert.equal(podName(podWith({})).uid, 'shop/web');
});
