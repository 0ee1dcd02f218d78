import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainPolicy } from './explain.ts';
import type { RedirectPolicy } from './policy.ts';

const POLICY: RedirectPolicy = {
  mesh: 'istio',
  identity: { proxyUids: [1337], proxyGids: [1337] },
  ports: { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
  loopback: { selfCallInbound: true, passthroughSource: true },
  outbound: {
    excludePorts: [{ first: 15_020, last: 15_020 }],
    includePorts: [],
    excludeCidrs: [],
    includeCidrs: '*',
  },
  inbound: {
    includePorts: '*',
    excludePorts: [
      { first: 15_020, last: 15_021 },
      { first: 15_090, last: 15_090 },
    ],
  },
};

const lines = (policy: RedirectPolicy) =>
  explainPolicy(policy).map(({ direction, when, then }) => `${direction}: ${when} -> ${then}`);

test("Istio's defaults are said in the order of its rules", () => {
  assert.deepEqual(lines(POLICY), [
    'outbound: to port 15020 -> left alone',
    'outbound: from 127.0.0.6 or ::6 to an address of the pod -> left alone',
    'outbound: from the sidecar (uid 1337 or gid 1337) to an address of the pod other than localhost, not to port 15008 -> to the sidecar, port 15006',
    'outbound: from the application to an address of the pod -> left alone',
    'outbound: from the sidecar (uid 1337 or gid 1337) -> left alone',
    'outbound: to 127.0.0.1 or ::1 -> left alone',
    'outbound: to anywhere else -> to the sidecar, port 15001',
    'inbound: to port 15008 -> left alone',
    'inbound: to ports 15020-15021, 15090 -> left alone',
    'inbound: to any other port -> to the sidecar, port 15006',
  ]);
});

test('a policy that captures lists names them, and what is not in them is left alone', () => {
  const said = lines({
    ...POLICY,
    outbound: {
      excludePorts: [],
      includePorts: [{ first: 5432, last: 5432 }],
      excludeCidrs: ['10.96.0.1/32'],
      includeCidrs: ['10.96.0.0/12', 'fd00::/8'],
    },
    inbound: { includePorts: [{ first: 80, last: 90 }], excludePorts: [] },
  });
  assert.deepEqual(said.slice(-7), [
    'outbound: to 10.96.0.1/32 -> left alone',
    'outbound: to port 5432 -> to the sidecar, port 15001',
    'outbound: to 10.96.0.0/12, fd00::/8 -> to the sidecar, port 15001',
    'outbound: to anywhere else -> left alone',
    'inbound: to port 15008 -> left alone',
    'inbound: to ports 80-90 -> to the sidecar, port 15006',
    'inbound: to any other port -> left alone',
  ]);
});

test('a policy that captures loopback does not let the application talk to itself unseen', () => {
  const said = lines({ ...POLICY, outbound: { ...POLICY.outbound, includeCidrs: ['127.0.0.0/8'] } });
  assert.ok(!said.some((line) => line.includes('from the application')));
});

test('a policy that captures nothing says so in both directions', () => {
  const said = lines({
    ...POLICY,
    ports: { ...POLICY.ports, tunnel: null },
    loopback: { selfCallInbound: false, passthroughSource: false },
    outbound: { excludePorts: [], includePorts: [], excludeCidrs: [], includeCidrs: [] },
    inbound: { includePorts: [], excludePorts: [] },
  });
  assert.ok(
    said.every((line) => line.endsWith('-> left alone')),
    said.join('\n'),
  );
});
