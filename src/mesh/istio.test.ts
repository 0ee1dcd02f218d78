import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseManifest } from '../pod/manifest.ts';
import type { PodObject } from '../pod/workload.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import { policyProblems } from '../policy/validate.ts';
import { istio } from './istio.ts';
import type { PolicyNote, Recognition } from './profile.ts';
import { recognise } from './recognise.ts';

const FIXTURES = new URL('../../test/fixtures/istio/', import.meta.url);

const parsed = new Map<string, PodObject>();

/** A copy of the fixture's pod, to be changed at will. */
function fixture(name: string): PodObject {
  const known = parsed.get(name);
  if (known !== undefined) return structuredClone(known);
  const file = `${name}.yaml`;
  const [pod, ...others] = parseManifest(readFileSync(new URL(file, FIXTURES), 'utf8'), file);
  assert.ok(pod !== undefined && others.length === 0);
  parsed.set(name, pod);
  return structuredClone(pod);
}

const ports = (...list: number[]) => list.map((port) => ({ first: port, last: port }));
/** 15020 and 15021 are neighbours, so a normal policy holds them as one range. */
const INIT_EXCLUDED = [{ first: 15_020, last: 15_021 }, ...ports(15_090)];

const BASE = basePolicy(
  'istio',
  { proxyUids: [1337], proxyGids: [1337] },
  { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
);
/** The fixtures' pods have an IPv4 address alone, but for one. */
const INIT_DEFAULT: RedirectPolicy = {
  ...BASE,
  families: { ip4: true, ip6: false },
  outbound: { ...BASE.outbound, excludePortProtocols: 'both' },
  inbound: { ...BASE.inbound, excludePorts: INIT_EXCLUDED },
};
const CNI_DEFAULT: RedirectPolicy = {
  ...INIT_DEFAULT,
  outbound: { ...INIT_DEFAULT.outbound, excludePorts: ports(15_020) },
};
const DNS = { target: { address: null, port: 15_053 }, tcp: 'capture', splitZones: true } as const;

type Sections = { [K in Exclude<keyof RedirectPolicy, 'mesh'>]?: Partial<RedirectPolicy[K]> };

const REDIRECTED: [name: string, base: RedirectPolicy, differences: Sections][] = [
  ['cni-native', CNI_DEFAULT, {}],
  ['cni-ordinary', CNI_DEFAULT, {}],
  ['init-ordinary', INIT_DEFAULT, {}],
  ['init-native', INIT_DEFAULT, {}],
  [
    'init-mesh-settings',
    INIT_DEFAULT,
    {
      identity: { proxyUids: [2337], proxyGids: [2337] },
      ports: { outbound: 16_001, inbound: 16_006 },
      outbound: {
        includeCidrs: ['10.96.0.0/12', 'fd00:10:96::/112'],
        excludeCidrs: ['10.96.0.1/32'],
        excludePorts: ports(443, 9042),
      },
    },
  ],
  [
    'init-annotations',
    INIT_DEFAULT,
    {
      outbound: { excludePorts: ports(3306), includePorts: ports(5432) },
      inbound: { excludePorts: [{ first: 9000, last: 9001 }, ...ports(15_021, 15_090, 16_020)] },
    },
  ],
  ['init-without-arguments', INIT_DEFAULT, { inbound: { excludePorts: ports(9000, 15_021, 15_090) } }],
  [
    'init-long-options',
    INIT_DEFAULT,
    {
      identity: { proxyGids: [2000] },
      ports: { outbound: 15_101, inbound: 15_106, tunnel: 15_108 },
      outbound: { includePorts: ports(9200) },
      inbound: { includePorts: ports(80, 443), excludePorts: [] },
    },
  ],
  [
    'init-dns-and-groups',
    INIT_DEFAULT,
    {
      dns: { ...DNS, mode: 'servers' },
      exempt: { includeGids: [0, 1000], excludeGids: [2000] },
      loopback: { localhost4: '127.0.0.0/8' },
      interfaces: { exclude: ['eth1'], reroute: ['kubevirt0'] },
      misc: { dropInvalid: true },
    },
  ],
  [
    'cni-lists',
    CNI_DEFAULT,
    {
      outbound: {
        excludePorts: ports(3306, 6379),
        includePorts: ports(5432),
        includeCidrs: ['10.96.0.0/12', '2001:db8:1::/48'],
        excludeCidrs: ['10.96.0.10/32', '10.100.0.0/16'],
      },
      inbound: { excludePorts: [{ first: 9000, last: 9001 }, ...INIT_EXCLUDED] },
    },
  ],
  ['cni-some-inbound', CNI_DEFAULT, { inbound: { includePorts: ports(8080, 8443), excludePorts: [] } }],
  [
    'cni-nothing',
    CNI_DEFAULT,
    { outbound: { includeCidrs: [], excludePorts: [] }, inbound: { includePorts: [], excludePorts: [] } },
  ],
  ['cni-openshift', CNI_DEFAULT, { identity: { proxyUids: [1_000_680_001], proxyGids: [1_000_680_002] } }],
  ['cni-proxy-root', CNI_DEFAULT, {}],
  [
    'cni-dual-stack',
    CNI_DEFAULT,
    {
      families: { ip6: true },
      outbound: { excludeCidrs: ['169.254.169.254/32', 'fd00:10:96::/112'] },
    },
  ],
  ['cni-dns-capture', CNI_DEFAULT, { dns: { ...DNS, mode: 'all' } }],
  ['cni-interfaces', CNI_DEFAULT, { interfaces: { exclude: ['net1', 'net2'], reroute: ['k6t-eth0'] } }],
  ['shunt-annotations', CNI_DEFAULT, {}],
];

const NOTED: Record<string, string[]> = {
  'cni-interfaces': ['traffic.sidecar.istio.io/excludeInterfaces', 'istio.io/reroute-virtual-interfaces'],
  'init-dns-and-groups': [
    'argument -c of istio-init',
    'argument -k of istio-init',
    'env INVALID_DROP',
    'env ISTIO_META_DNS_CAPTURE',
  ],
  'shunt-annotations': ['shunt.dev/redirect', 'shunt.dev/acceleration'],
};

const LEFT: [name: string, reason: RegExp][] = [
  ['gateway', /gateway \(istio-proxy runs as router\)/],
  ['proxyless-grpc', /DISABLE_ENVOY/],
  ['inject-false', /sidecar\.istio\.io\/inject is false/],
  ['host-network', /host's network/],
  ['not-injected', /no annotation sidecar\.istio\.io\/status/],
  ['no-sidecar', /no sidecar/],
  ['mode-none', /NONE/],
  ['mode-tproxy', /TPROXY.*neither backend/],
  ['init-mode-tproxy', /TPROXY.*neither backend/],
  ['shunt-opt-out', /shunt\.dev\/redirect is "disabled"/],
  ['kube-system', /namespace kube-system/],
];

const T = 'traffic.sidecar.istio.io';
const REJECTED: [name: string, notes: [annotation: string, message: RegExp][]][] = [
  ['bad-port', [[`${T}/excludeOutboundPorts`, /"65536" is not a port/]]],
  ['bad-cidr', [[`${T}/includeOutboundIPRanges`, /"10\.96\.0\.0" is not a CIDR/]]],
  ['bad-mode', [['sidecar.istio.io/interceptionMode', /none of REDIRECT, TPROXY and NONE/]]],
  [
    'bad-many',
    [
      [`${T}/includeInboundPorts`, /"80;443" is not a port/],
      ['status.sidecar.istio.io/port', /"http" is not a port/],
      [`${T}/excludeInboundPorts`, /"\*" is not allowed/],
      [`${T}/excludeOutboundPorts`, /empty element/],
      [`${T}/includeOutboundPorts`, /"\$\(reboot\)" is not a port/],
      [`${T}/excludeOutboundIPRanges`, /" 11\.0\.0\.0\/8" is not a CIDR/],
      [`${T}/excludeInterfaces`, /"an-interface-with-a-long-name" is not the name/],
    ],
  ],
  [
    'bad-arguments',
    [
      ['argument -d of istio-init', /"a" is not a port/],
      ['argument -u of istio-init', /"envoy" is not a numeric id/],
      ['argument -z of istio-init', /"15006x" is not a port/],
    ],
  ],
  [
    'too-many-uids',
    [
      ['istio-init', /5 ids, at most 4/],
      ['istio-init', /5 ids, at most 4/],
    ],
  ],
];

for (const [name, base, differences] of REDIRECTED) {
  test(`fixture ${name} is redirected as Istio would`, () => {
    const recognition = recognise(fixture(name));
    assert.equal(recognition.kind, 'redirect', JSON.stringify(recognition));
    assert.ok(recognition.kind === 'redirect');
    assert.deepEqual(recognition.policy, merged(base, differences));
    assert.equal(recognition.sidecarContainer, 'istio-proxy');
    assert.equal(recognition.acceleration, name === 'shunt-annotations' ? 'off' : 'auto');
    assert.deepEqual(annotationsOf(recognition.notes), NOTED[name] ?? []);
  });
}

for (const [name, reason] of LEFT) {
  test(`fixture ${name} is left alone, with the reason`, () => {
    const recognition = recognise(fixture(name));
    assert.ok(recognition.kind === 'leave', JSON.stringify(recognition));
    assert.match(recognition.reason, reason);
  });
}

for (const [name, notes] of REJECTED) {
  test(`fixture ${name} is rejected, with every bad value`, () => {
    const recognition = recognise(fixture(name));
    assert.ok(recognition.kind === 'reject', JSON.stringify(recognition));
    assert.deepEqual(
      annotationsOf(recognition.notes),
      notes.map(([annotation]) => annotation),
    );
    for (const [index, [, message]] of notes.entries())
      assert.match(recognition.notes[index]?.message ?? '', message);
  });
}

test('every fixture is in one of the tables', () => {
  const named = [...REDIRECTED, ...LEFT, ...REJECTED].map(([name]) => `${name}.yaml`);
  const pods = readdirSync(FIXTURES).filter((name) => name.endsWith('.yaml'));
  assert.deepEqual(pods.sort(), named.sort());
});

function annotationsOf(notes: PolicyNote[]): string[] {
  return notes.map(({ annotation }) => annotation);
}

function merged(base: RedirectPolicy, differences: Sections): RedirectPolicy {
  const sections = Object.entries(differences).map(([key, fields]) => [
    key,
    { ...Object(base[key as keyof Sections]), ...Object(fields) },
  ]);
  return { ...base, ...Object.fromEntries(sections) };
}

/** The CNI-mode pod with one annotation. */
function annotated(annotation: string, value: string, name = 'cni-native'): Recognition {
  const pod = fixture(name);
  pod.metadata.annotations[annotation] = value;
  return recognise(pod);
}

const REFUSED_PORTS = [
  '65536',
  '-1',
  '+80',
  '080',
  '0x50',
  '80-90',
  '80:90',
  '8 0',
  '80,,443',
  ',80',
  '80,',
  ',',
  'http',
  '８０',
  '٨٠',
  '80\n443',
  '80\n',
  '\u00a080',
  '80;reboot',
  '$(id)',
  '`id`',
  "80' -j ACCEPT",
  '1e3',
  '80.0',
  '99999999999999999999',
  '* ',
  '**',
];
const PORT_LISTS = [
  'includeInboundPorts',
  'excludeInboundPorts',
  'includeOutboundPorts',
  'excludeOutboundPorts',
];
const REFUSED_CIDRS = [
  '10.0.0.0',
  '10.0.0.0/33',
  '10.0.0.0/08',
  '10.0.0/8',
  '010.0.0.0/8',
  '10.0.0.0/8 ',
  ' 10.0.0.0/8',
  '10.0.0.0/8,',
  ',',
  '::/129',
  'fe80::%eth0/64',
  '10.0.0.0/255.0.0.0',
  '10.0.0.0/8;reboot',
  '1０.0.0.0/8',
  '10.0.0.0/8\n',
  ' ',
  '*,10.0.0.0/8',
];
const CIDR_LISTS = ['includeOutboundIPRanges', 'excludeOutboundIPRanges'];

for (const [lists, values] of [
  [PORT_LISTS, REFUSED_PORTS],
  [CIDR_LISTS, REFUSED_CIDRS],
] as const) {
  for (const list of lists) {
    test(`${list} with a value that is none is rejected in CNI mode, whatever the slip`, () => {
      for (const value of values) {
        const recognition = annotated(`${T}/${list}`, value);
        assert.ok(recognition.kind === 'reject', `${JSON.stringify(value)} gave ${recognition.kind}`);
        assert.equal(recognition.notes[0]?.annotation, `${T}/${list}`);
        assert.equal(recognition.notes[0]?.value, value);
      }
    });
  }
}

test('the webhook refuses in init mode too, though arguments decide, except what it does not check', () => {
  for (const list of [...PORT_LISTS, ...CIDR_LISTS]) {
    const recognition = annotated(`${T}/${list}`, '80,', 'init-ordinary');
    assert.equal(recognition.kind, list === 'includeOutboundPorts' ? 'redirect' : 'reject', list);
  }
});

test('in init mode the arguments decide, and a later change of an annotation does not', () => {
  const recognition = annotated(`${T}/excludeOutboundPorts`, '3306', 'init-mesh-settings');
  assert.ok(recognition.kind === 'redirect');
  assert.deepEqual(recognition.policy.outbound.excludePorts, ports(443, 9042));
});

test('ports may have spaces around them and stand twice', () => {
  const recognition = annotated(`${T}/excludeOutboundPorts`, ' 80 ,\t443, 80,0,65535');
  assert.ok(recognition.kind === 'redirect');
  assert.deepEqual(recognition.policy.outbound.excludePorts, ports(0, 80, 443, 65_535));
});

test('"*" is taken only where all may be meant', () => {
  const taken = [...PORT_LISTS, ...CIDR_LISTS].filter(
    (list) => annotated(`${T}/${list}`, '*').kind === 'redirect',
  );
  assert.deepEqual(taken, ['includeInboundPorts', 'includeOutboundIPRanges']);
});

test('1,000 ports and 5,000 CIDRs are taken', () => {
  const pod = fixture('cni-native');
  const manyPorts = Array.from({ length: 1000 }, (_, i) => 2 * i + 1);
  const manyCidrs = Array.from({ length: 5000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  pod.metadata.annotations[`${T}/excludeOutboundPorts`] = manyPorts.join(',');
  pod.metadata.annotations[`${T}/excludeOutboundIPRanges`] = manyCidrs.toReversed().join(',');
  const recognition = recognise(pod);
  assert.ok(recognition.kind === 'redirect');
  assert.equal(recognition.policy.outbound.excludePorts.length, 1000);
  assert.deepEqual(recognition.policy.outbound.excludeCidrs, manyCidrs);
});

const ACCELERATION: [value: string | undefined, acceleration: string, notes: number][] = [
  [undefined, 'auto', 0],
  ['auto', 'auto', 0],
  ['off', 'off', 0],
  ['outbound', 'outbound', 0],
  ['full', 'full', 0],
  ['Full', 'off', 1],
  ['', 'off', 1],
];
for (const [value, acceleration, notes] of ACCELERATION) {
  test(`shunt.dev/acceleration ${JSON.stringify(value)} means ${acceleration}`, () => {
    const recognition =
      value === undefined ? recognise(fixture('cni-native')) : annotated('shunt.dev/acceleration', value);
    assert.ok(recognition.kind === 'redirect');
    assert.equal(recognition.acceleration, acceleration);
    assert.equal(recognition.notes.length, notes);
  });
}

const INJECT: [label: string | null, annotation: string | null, kind: string][] = [
  [null, 'false', 'leave'],
  [null, 'F', 'leave'],
  [null, '0', 'leave'],
  [null, 'no', 'redirect'],
  [null, 'FALSe', 'redirect'],
  ['true', 'false', 'redirect'],
  ['false', null, 'leave'],
  ['', 'false', 'redirect'],
  [null, '', 'redirect'],
];
for (const [label, annotation, kind] of INJECT) {
  test(`sidecar.istio.io/inject, label ${label} and annotation ${annotation}: ${kind}`, () => {
    const pod = fixture('cni-native');
    if (label !== null) pod.metadata.labels['sidecar.istio.io/inject'] = label;
    if (annotation !== null) pod.metadata.annotations['sidecar.istio.io/inject'] = annotation;
    assert.equal(recognise(pod).kind, kind);
  });
}

test('DISABLE_ENVOY counts only when it reads as true', () => {
  for (const [value, kind] of [
    ['true', 'leave'],
    ['1', 'leave'],
    ['false', 'redirect'],
    ['yes', 'redirect'],
  ] as const) {
    const pod = fixture('cni-ordinary');
    const proxy = pod.spec.containers.find(({ name }) => name === 'istio-proxy');
    assert.ok(proxy);
    proxy.env.DISABLE_ENVOY = value;
    assert.equal(recognise(pod).kind, kind, value);
  }
});

test('a pod without istio-proxy is not of this mesh, unless it says that it was injected', () => {
  const pod = fixture('no-sidecar');
  assert.equal(istio.recognise(pod), null);
  pod.metadata.annotations['sidecar.istio.io/status'] = '{}';
  assert.equal(istio.recognise(pod)?.kind, 'leave');
});

test('a megabyte of annotation makes a short note', () => {
  const recognition = annotated(`${T}/excludeOutboundPorts`, 'x'.repeat(1_000_000));
  assert.ok(recognition.kind === 'reject');
  assert.ok(JSON.stringify(recognition.notes).length < 1000);
});

test('whatever annotations and arguments hold, a pod is taken with a valid policy or refused with notes', () => {
  const element = fc.oneof(
    fc.nat(70_000).map(String),
    fc.tuple(fc.ipV4(), fc.nat(33)).map(([address, bits]) => `${address}/${bits}`),
    fc.tuple(fc.ipV6(), fc.nat(129)).map(([address, bits]) => `${address}/${bits}`),
    fc.constantFrom('*', '', ' ', '\n', '80', '-j', '$(x)'),
    fc.string({ maxLength: 6 }),
  );
  const value = fc.array(element, { maxLength: 5 }).map((elements) => elements.join(','));
  const settings = fc.dictionary(
    fc.constantFrom(
      ...[...PORT_LISTS, ...CIDR_LISTS].map((list) => `${T}/${list}`),
      'status.sidecar.istio.io/port',
    ),
    value,
  );
  const flags = fc.array(
    fc.oneof(
      fc.constantFrom('-p', '-z', '-u', '-g', '-b', '-d', '-q', '-o', '-i', '-x', '-e', '--proxy-uid'),
      value,
    ),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(
      fc.constantFrom('cni-native', 'init-ordinary'),
      settings,
      flags,
      (name, annotations, args) => {
        const pod = fixture(name);
        Object.assign(pod.metadata.annotations, annotations);
        for (const container of pod.spec.initContainers) container.args.push(...args);
        const recognition = recognise(pod);
        if (recognition.kind === 'redirect') assert.deepEqual(policyProblems(recognition.policy), []);
        else assert.ok(recognition.kind === 'leave' || recognition.notes.length > 0);
      },
    ),
    { numRuns: 1000 },
  );
});

const FAMILIES: [podIPs: string[], dualStack: string | null, ip6: boolean][] = [
  [[], null, true],
  [['10.0.0.1'], null, false],
  [['fd00::1'], null, true],
  [['10.0.0.1', 'fd00::1'], null, false],
  [['fd00::1', '10.0.0.1'], null, true],
  [['10.0.0.1', 'fd00::1'], 'true', true],
  [['10.0.0.1', 'fd00::1'], 'maybe', false],
  [['10.0.0.1'], 'true', false],
];
for (const [podIPs, dualStack, ip6] of FAMILIES) {
  test(`addresses ${podIPs.join(' ') || '(none yet)'}, dual stack ${dualStack}: IPv6 ${ip6 ? 'is' : 'is not'} captured`, () => {
    const pod = fixture('cni-ordinary');
    pod.status.podIPs = podIPs;
    const proxy = pod.spec.containers.find(({ name }) => name === 'istio-proxy');
    assert.ok(proxy);
    if (dualStack !== null) proxy.env.ISTIO_DUAL_STACK = dualStack;
    const recognition = recognise(pod);
    assert.ok(recognition.kind === 'redirect');
    assert.deepEqual(recognition.policy.families, { ip4: true, ip6 });
    assert.equal(recognition.notes.length, dualStack === 'maybe' ? 1 : 0);
  });
}

const ENVIRONMENT: [name: string, value: string, kind: string][] = [
  ['ISTIO_OUTBOUND_OWNER_GROUPS', '*', 'redirect'],
  ['ISTIO_OUTBOUND_OWNER_GROUPS', '0, 1000', 'redirect'],
  ['ISTIO_OUTBOUND_OWNER_GROUPS', 'java', 'reject'],
  ['ISTIO_OUTBOUND_OWNER_GROUPS', Array.from({ length: 64 }, (_, i) => i).join(), 'redirect'],
  ['ISTIO_OUTBOUND_OWNER_GROUPS', Array.from({ length: 65 }, (_, i) => i).join(), 'reject'],
  ['ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE', '$(id)', 'reject'],
  ['ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR', '127.0.0.0/8', 'redirect'],
  ['ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR', '127.0.0.0/7', 'reject'],
  ['ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR', '10.0.0.0/8', 'reject'],
  ['ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR', '127.0.0.1', 'reject'],
];
for (const [name, value, kind] of ENVIRONMENT) {
  test(`${name}=${value.slice(0, 20)} of istio-init: ${kind}, and no matter in CNI mode`, () => {
    for (const [fixtureName, expected] of [
      ['init-ordinary', kind],
      ['cni-native', 'redirect'],
    ] as const) {
      const pod = fixture(fixtureName);
      for (const container of pod.spec.initContainers) container.env[name] = value;
      assert.equal(recognise(pod).kind, expected);
    }
  });
}

test('an include list that names loopback lets only localhost itself pass', () => {
  for (const [cidrs, application] of [
    ['10.0.0.0/8', 'bypass-local'],
    ['10.0.0.0/8,127.0.0.0/8', 'bypass-localhost'],
    ['::1/128', 'bypass-localhost'],
    ['*', 'bypass-local'],
  ] as const) {
    const recognition = annotated(`${T}/includeOutboundIPRanges`, cidrs);
    assert.ok(recognition.kind === 'redirect');
    assert.equal(recognition.policy.loopback.application, application, cidrs);
  }
});

test('in init mode queries go by the servers of the settings, or all with CAPTURE_ALL_DNS', () => {
  const pod = fixture('init-dns-and-groups');
  const known = recognise(pod, undefined, { settings: { nameservers: ['10.96.0.10'] } });
  assert.ok(known.kind === 'redirect');
  assert.deepEqual(known.policy.dns.servers, ['10.96.0.10']);
  for (const container of pod.spec.initContainers) container.env.CAPTURE_ALL_DNS = 'true';
  const all = recognise(pod);
  assert.ok(all.kind === 'redirect');
  assert.equal(all.policy.dns.mode, 'all');
});
