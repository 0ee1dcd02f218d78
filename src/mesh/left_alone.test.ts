import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixturePod, redirected } from '../../test/fixtures/pod.ts';
import { MESH_PROFILES, recognise } from './recognise.ts';

const MODE = 'istio.io/dataplane-mode';

const REASONS: [name: string, reason: RegExp][] = [
  ['ambient-annotation', /ambient mode/],
  ['ambient-pending', /ambient mode/],
  ['ambient-label', /ambient mode/],
  ['kmesh-annotation', /Kmesh/],
  ['kmesh-label', /Kmesh/],
  ['dapr', /Dapr/],
  ['cilium', /Cilium/],
  ['traefik-mesh', /Traefik/],
  ['grpc-bootstrap', /proxyless gRPC/],
  ['grpc-template', /proxyless gRPC/],
  ['gateway', /gateway/],
  ['unknown-sidecar', /no sidecar of a mesh/],
  ['plain', /no sidecar of a mesh/],
  ['ambient-none', /no sidecar of a mesh/],
  ['dapr-disabled', /no sidecar of a mesh/],
];
for (const [name, reason] of REASONS) {
  test(`${name} is left alone with its reason`, () => {
    const answer = recognise(fixturePod('left-alone', name));
    assert.ok(answer.kind === 'leave');
    assert.match(answer.reason, reason);
  });
}

test("the namespace's label counts where the pod has none", () => {
  for (const [own, said] of [
    [undefined, /ambient/],
    ['none', /no sidecar/],
  ] as const) {
    const pod = fixturePod('left-alone', 'plain');
    if (own !== undefined) pod.metadata.labels[MODE] = own;
    const context = { namespace: { labels: { [MODE]: 'ambient' }, annotations: {} } };
    const answer = recognise(pod, MESH_PROFILES, context);
    assert.ok(answer.kind === 'leave');
    assert.match(answer.reason, said);
  }
});

test('a pod with a sidecar is of that mesh, whatever marks it has besides', () => {
  const pod = fixturePod('linkerd', 'cni-native');
  pod.metadata.labels[MODE] = 'ambient';
  pod.metadata.annotations['dapr.io/enabled'] = 'true';
  assert.equal(redirected(pod).policy.mesh, 'linkerd');
});
