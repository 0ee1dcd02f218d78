import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainPolicy } from './explain.ts';
import { basePolicy, type RedirectPolicy } from './policy.ts';

const BASE = basePolicy(
  'istio',
  { proxyUids: [1337], proxyGids: [1337] },
  { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
);
const POLICY: RedirectPolicy = {
  ...BASE,
  outbound: { ...BASE.outbound, excludePorts: [{ first: 15_020, last: 15_020 }] },
  inbound: {
    ...BASE.inbound,
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
    'outbound: from uid 1337 to an address of the pod other than localhost, not to port 15008 -> to the sidecar, port 15006',
    'outbound: from another uid than 1337 to an address of the pod -> left alone',
    'outbound: from uid 1337 -> left alone',
    'outbound: from gid 1337 to an address of the pod other than localhost, not to port 15008 -> to the sidecar, port 15006',
    'outbound: from another gid than 1337 to an address of the pod -> left alone',
    'outbound: from gid 1337 -> left alone',
    'outbound: to 127.0.0.1 or ::1 -> left alone',
    'outbound: to anywhere else -> to the sidecar, port 15001',
    'inbound: from the pod itself -> left alone',
    'inbound: to port 15008 -> left alone',
    'inbound: to ports 15020-15021, 15090 -> left alone',
    'inbound: to any other port -> to the sidecar, port 15006',
  ]);
});

test('a policy that captures lists names them, and what is not in them is left alone', () => {
  const said = lines({
    ...POLICY,
    outbound: {
      ...BASE.outbound,
      includePorts: [{ first: 5432, last: 5432 }],
      excludeCidrs: ['10.96.0.1/32'],
      includeCidrs: ['10.96.0.0/12', 'fd00::/8'],
    },
    inbound: { ...BASE.inbound, includePorts: [{ first: 80, last: 90 }] },
  });
  assert.deepEqual(said.slice(-8), [
    'outbound: to 10.96.0.1/32 -> left alone',
    'outbound: to port 5432 -> to the sidecar, port 15001',
    'outbound: to 10.96.0.0/12, fd00::/8 -> to the sidecar, port 15001',
    'outbound: to anywhere else -> left alone',
    'inbound: from the pod itself -> left alone',
    'inbound: to port 15008 -> left alone',
    'inbound: to ports 80-90 -> to the sidecar, port 15006',
    'inbound: to any other port -> left alone',
  ]);
});

test('a policy that captures loopback does not let the application talk to itself unseen', () => {
  const said = lines({ ...POLICY, loopback: { ...POLICY.loopback, application: 'bypass-localhost' } });
  assert.ok(!said.some((line) => line.includes('another uid')));
});

test('a policy that captures nothing says so in both directions', () => {
  const said = lines({
    ...POLICY,
    ports: { ...POLICY.ports, tunnel: null },
    loopback: { ...BASE.loopback, sidecar: 'bypass', passthroughSource: false },
    outbound: { ...BASE.outbound, includeCidrs: [] },
    inbound: { ...BASE.inbound, includePorts: [] },
  });
  assert.ok(
    said.every((line) => line.endsWith('-> left alone')),
    said.join('\n'),
  );
});

test('what few policies have is said where it is tried', () => {
  const said = lines({
    ...POLICY,
    families: { ip4: true, ip6: false },
    exempt: {
      uids: [{ first: 5996, last: 5996 }],
      includeGids: [0, 7],
      excludeGids: [9],
      uidPorts: [{ protocols: 'udp', ports: [{ first: 53, last: 53 }], uids: { first: 5, last: 6 } }],
    },
    loopback: {
      ...BASE.loopback,
      localhost4: '127.0.0.0/8',
      application: 'bypass-localhost',
      sidecar: 'bypass',
      sidecarLocalhostToPodIp: true,
    },
    outbound: { ...POLICY.outbound, excludePortProtocols: 'both' },
    inbound: { ...BASE.inbound, excludeSources: ['10.0.0.0/8'] },
    interfaces: { exclude: ['net1'], reroute: ['k6t'], virtual: [{ name: 'br+', cidr: '172.17.0.0/16' }] },
    dns: {
      mode: 'localhost',
      servers: [],
      target: { address: '127.0.0.1', port: 8600 },
      tcp: 'capture',
      splitZones: false,
    },
  });
  assert.deepEqual(said, [
    'outbound: over IPv6 -> left alone',
    'outbound: by the interface net1 -> left alone',
    'outbound: of uid 5996 -> left alone',
    'outbound: of uid 5-6 to port 53, UDP -> left alone',
    'outbound: to port 15020, TCP and UDP -> left alone',
    'outbound: from 127.0.0.6 or ::6 to an address of the pod -> left alone',
    "outbound: from the sidecar (uid 1337 or gid 1337) to 127.0.0.1 or ::1 -> to the pod's own address, same port",
    'outbound: from the sidecar (uid 1337 or gid 1337) -> left alone',
    'outbound: of a gid other than 0, 7 -> left alone',
    'outbound: of gid 9 -> left alone',
    'outbound: to port 53 of 127.0.0.1 or ::1, TCP and UDP, over IPv4 -> to 127.0.0.1, port 8600',
    'outbound: to 127.0.0.0/8 or ::1 -> left alone',
    'outbound: to anywhere else -> to the sidecar, port 15001',
    'inbound: over IPv6 -> left alone',
    'inbound: from the pod itself -> left alone',
    'inbound: by the interface k6t -> as outbound: to the sidecar, port 15001',
    'inbound: by the interface k6t, UDP -> left alone',
    'inbound: by br+ over IPv4 to port 53, UDP -> to the DNS proxy, port 8600',
    'inbound: by br+ over IPv4, not to 172.17.0.0/16 -> as outbound: to the sidecar, port 15001',
    'inbound: by the interface net1 -> left alone',
    'inbound: to port 15008 -> left alone',
    'inbound: from 10.0.0.0/8 -> left alone',
    'inbound: to any other port -> to the sidecar, port 15006',
  ]);
});

test('each mesh has its own order', () => {
  const policy: RedirectPolicy = {
    ...POLICY,
    loopback: { ...BASE.loopback, sidecarLocalhostToPodIp: true },
    outbound: { ...POLICY.outbound, excludeCidrs: ['10.0.0.0/8'] },
    dns: {
      mode: 'all',
      servers: [],
      target: { address: null, port: 15_053 },
      tcp: 'as-other-tcp',
      splitZones: false,
    },
  };
  const marks = {
    port: 'excluded-port',
    block: 'excluded-cidr',
    dns: 'dns',
    sidecar: 'sidecar',
    own: 'sidecar-localhost',
  };
  const orderIn = (mesh: string) => {
    const rules = explainPolicy({ ...policy, mesh }).map(({ rule }) => rule as string);
    return Object.entries(marks)
      .sort(([, a], [, b]) => rules.indexOf(a) - rules.indexOf(b))
      .map(([name]) => name)
      .join(' ');
  };
  assert.equal(orderIn('istio'), 'port own sidecar dns block');
  assert.equal(orderIn('linkerd'), 'own sidecar dns port block');
  // The sidecar's queries first, which pass.
  assert.equal(orderIn('kuma'), 'block sidecar dns port own');
  assert.equal(orderIn('consul'), 'dns block port own sidecar');
  assert.equal(orderIn('osm'), 'own dns sidecar block port');
});

test('a direction that is off captures nothing but DNS, which is no part of it', () => {
  const off = {
    ...POLICY,
    outbound: { ...POLICY.outbound, enabled: false },
    inbound: { ...POLICY.inbound, enabled: false },
  };
  assert.ok(explainPolicy(off).every(({ verdict }) => verdict === 'pass'));
  const dns = {
    mode: 'all',
    servers: [],
    target: { address: null, port: 53 },
    tcp: 'capture',
    splitZones: false,
  } as const;
  const captured = explainPolicy({ ...off, dns: { ...dns, servers: [] } }).filter(
    ({ verdict }) => verdict !== 'pass',
  );
  assert.deepEqual(
    captured.map(({ rule }) => rule),
    ['dns'],
  );
});
