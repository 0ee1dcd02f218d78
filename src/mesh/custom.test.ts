import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { fixturePod, ports, redirected } from '../../test/fixtures/pod.ts';
import { MESH_PROFILES, recognise } from './recognise.ts';
import { MeshSettingsSchema } from './settings.ts';

const settingsOf = (custom: unknown) => ({ settings: v.parse(MeshSettingsSchema, { custom: [custom] }) });
const MESH = { name: 'acme', container: 'nginx-mesh-sidecar', outboundPort: 8906, inboundPort: 8907 };
const pod = () => fixturePod('left-alone', 'unknown-sidecar');

test('a sidecar is told by its container, and by what that runs as', () => {
  const { policy, sidecarContainer } = redirected(pod(), settingsOf(MESH));
  assert.equal(sidecarContainer, 'nginx-mesh-sidecar');
  assert.equal(policy.mesh, 'acme');
  assert.deepEqual(policy.identity, { proxyUids: [101], proxyGids: [101] });
  assert.deepEqual(policy.ports, { outbound: 8906, inbound: 8907, tunnel: null });
});

test('every setting is taken', () => {
  const { policy } = redirected(
    pod(),
    settingsOf({
      ...MESH,
      tunnelPort: 15_008,
      proxyUids: [7],
      excludeInboundPorts: ['22', '8000-8010'],
      excludeOutboundPorts: ['3306'],
      excludeOutboundCidrs: ['10.0.0.0/8', '192.168.1.1'],
      selfCallsInbound: true,
      passthroughSource: true,
      ip6: false,
    }),
  );
  assert.deepEqual(policy.identity, { proxyUids: [7], proxyGids: [] });
  assert.equal(policy.ports.tunnel, 15_008);
  assert.deepEqual(policy.inbound.excludePorts, ports(22, [8000, 8010]));
  assert.deepEqual(policy.outbound.excludePorts, ports(3306));
  assert.deepEqual(policy.outbound.excludeCidrs, ['10.0.0.0/8', '192.168.1.1/32']);
  assert.equal(policy.loopback.sidecar, 'inbound');
  assert.equal(policy.loopback.passthroughSource, true);
  assert.equal(policy.families.ip6, false);
});

test('a value that cannot be used is refused with its name', () => {
  const parsed = v.safeParse(MeshSettingsSchema, { custom: [{ ...MESH, excludeOutboundPorts: ['http'] }] });
  const [issue] = parsed.issues ?? [];
  assert.equal(issue && v.getDotPath(issue), 'custom.0.excludeOutboundPorts.0');
});

test('settings of another shape are not taken', () => {
  for (const custom of [
    { ...MESH, outboundPort: 0 },
    { ...MESH, name: 'A B' },
    { ...MESH, port: 1 },
  ]) {
    assert.throws(() => settingsOf(custom));
  }
});

test('a pod without the container is not of the mesh', () => {
  const answer = recognise(fixturePod('left-alone', 'plain'), MESH_PROFILES, settingsOf(MESH));
  assert.equal(answer.kind, 'leave');
});
