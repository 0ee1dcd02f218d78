import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { type ErrorCode, ShuntError } from '../errors.ts';
import { MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts';

const MINIMAL = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web' },
  spec: { containers: [{ name: 'app' }] },
};

function refusal(text: string): ShuntError {
  try {
    parseManifest(text, 'pods/web.yaml');
  } catch (error) {
    assert.ok(error instanceof ShuntError, String(error));
    assert.ok(error.message.startsWith('pods/web.yaml: '), 'the file is named');
    return error;
  }
  return assert.fail('nothing was refused');
}

test('a pod is read as far as Shunt needs it', () => {
  const [pod, ...others] = parseManifest(
    `
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  uid: 6f5c
  labels: {app: web}
  annotations:
    shunt.dev/netns: /run/netns/web
spec:
  hostNetwork: false
  serviceAccountName: default
  containers:
    - name: app
      image: app:1
      env:
        - {name: A, value: "1"}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  initContainers:
    - name: istio-proxy
      restartPolicy: Always
      args: [proxy, sidecar]
      securityContext: {runAsUser: 1337, runAsGroup: 1338, privileged: false}
status:
  podIP: 10.0.0.7
  podIPs: [{ip: 10.0.0.7}, {ip: "2001:DB8:0::7"}]
`,
    'web.yaml',
  );
  assert.deepEqual(others, []);
  assert.deepEqual(pod, {
    metadata: {
      name: 'web-1',
      namespace: 'shop',
      uid: '6f5c',
      labels: { app: 'web' },
      annotations: { 'shunt.dev/netns': '/run/netns/web' },
    },
    spec: {
      hostNetwork: false,
      containers: [
        {
          name: 'app',
          args: [],
          env: { A: '1', NODE: '' },
          restartPolicy: undefined,
          runAsUser: undefined,
          runAsGroup: undefined,
        },
      ],
      initContainers: [
        {
          name: 'istio-proxy',
          args: ['proxy', 'sidecar'],
          env: {},
          restartPolicy: 'Always',
          runAsUser: 1337,
          runAsGroup: 1338,
        },
      ],
    },
    status: { podIPs: ['10.0.0.7', '2001:db8::7'] },
  });
});

test('what a manifest leaves out has the value Kubernetes gives it', () => {
  const [pod] = parseManifest(
    stringify({ ...MINIMAL, spec: null, status: null, metadata: { name: 'web', annotations: null } }).replace(
      'spec: null',
      'spec: {}',
    ),
    'f',
  );
  assert.deepEqual(pod?.metadata, {
    name: 'web',
    namespace: 'default',
    uid: undefined,
    labels: {},
    annotations: {},
  });
  assert.deepEqual(pod?.spec, { hostNetwork: false, containers: [], initContainers: [] });
  assert.deepEqual(pod?.status, { podIPs: [] });
});

test('a pod that has only status.podIP has that address', () => {
  const [pod] = parseManifest(stringify({ ...MINIMAL, status: { podIP: '10.0.0.9' } }), 'f');
  assert.deepEqual(pod?.status.podIPs, ['10.0.0.9']);
  const [pending] = parseManifest(stringify({ ...MINIMAL, status: { podIP: '', podIPs: [] } }), 'f');
  assert.deepEqual(pending?.status.podIPs, []);
});

const second = { ...MINIMAL, metadata: { name: 'db' } };
const { apiVersion: _version, kind: _kind, ...bare } = MINIMAL;
const SHAPES: [shape: string, text: string, names: string[]][] = [
  ['JSON', JSON.stringify(MINIMAL), ['web']],
  ['JSON behind a byte order mark', `\uFEFF${JSON.stringify(MINIMAL, null, 2)}`, ['web']],
  [
    'a YAML flow mapping that is not JSON',
    '{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {}}',
    ['web'],
  ],
  ['two documents', `${stringify(MINIMAL)}---\n${stringify(second)}`, ['web', 'db']],
  ['documents with empty ones between', `---\n---\n${stringify(MINIMAL)}---\n# nothing\n---\n`, ['web']],
  ['a List', stringify({ apiVersion: 'v1', kind: 'List', items: [MINIMAL, second] }), ['web', 'db']],
  ['a PodList as the API server sends it', JSON.stringify({ kind: 'PodList', items: [bare] }), ['web']],
  ['an empty List', 'kind: List\nitems: []\n', []],
  ['a List without items', 'kind: List\n', []],
  ['an empty file', '', []],
  ['a comment', '# later\n', []],
  [
    'an anchor and a merge key',
    `${stringify({ ...MINIMAL, spec: undefined })}spec:\n  containers:\n  - &c {name: app}\n  - {<<: *c, name: b}\n`,
    ['web'],
  ],
];
for (const [shape, text, names] of SHAPES) {
  test(`pods are read from ${shape}`, () => {
    assert.deepEqual(
      parseManifest(text, 'f').map((pod) => pod.metadata.name),
      names,
    );
  });
}

const pod = (fields: object) => stringify({ ...MINIMAL, ...fields });
const REFUSED: [what: string, text: string, code: ErrorCode, says: RegExp][] = [
  ['an open quote', 'kind: Pod\nmetadata:\n  name: "x\n', 'SHUNT_E_MANIFEST_SYNTAX', /line 4/],
  ['a tab', 'kind: Pod\nmetadata:\n\tname: x\n', 'SHUNT_E_MANIFEST_SYNTAX', /line 3/],
  ['broken JSON', '{"kind": "Pod",\n', 'SHUNT_E_MANIFEST_SYNTAX', /line 2/],
  [
    'a key that stands twice',
    'kind: Pod\nkind: Pod\n',
    'SHUNT_E_MANIFEST_SYNTAX',
    /"kind" stands twice.*line 2/,
  ],
  ['an alias of nothing', 'kind: *x\n', 'SHUNT_E_MANIFEST_SYNTAX', /alias/],
  ['500,000 brackets', `a: ${'['.repeat(500_000)}`, 'SHUNT_E_MANIFEST_SYNTAX', /nested too deeply/],
  ['200,000 dashes', '- '.repeat(200_000), 'SHUNT_E_MANIFEST_SYNTAX', /nested too deeply/],
  [
    '1,400 levels',
    Array.from({ length: 1400 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
    'SHUNT_E_MANIFEST_SYNTAX',
    /nested too deeply/,
  ],
  ['a word', 'hello', 'SHUNT_E_MANIFEST_NOT_POD', /not a Kubernetes object/],
  ['a bare list', '- kind: Pod\n', 'SHUNT_E_MANIFEST_NOT_POD', /not a Kubernetes object/],
  ['an object without kind', 'metadata: {name: web}\n', 'SHUNT_E_MANIFEST_NOT_POD', /without a kind "web"/],
  [
    'a Deployment',
    'kind: Deployment\nmetadata: {name: web}\n',
    'SHUNT_E_MANIFEST_NOT_POD',
    /a Deployment "web"/,
  ],
  [
    'a Service beside a Pod',
    `${stringify(MINIMAL)}---\nkind: Service\nmetadata: {name: s}\n`,
    'SHUNT_E_MANIFEST_NOT_POD',
    /document 2: a Service "s"/,
  ],
  [
    'a List of something else',
    'kind: List\nitems: [{kind: Pod}, 7]\n',
    'SHUNT_E_MANIFEST_FIELD',
    /items\[0\]\.apiVersion: is missing/,
  ],
  ['items that are no list', 'kind: List\nitems: {}\n', 'SHUNT_E_MANIFEST_FIELD', /items: expected Array/],
  [
    'another apiVersion',
    pod({ apiVersion: 'v2' }),
    'SHUNT_E_MANIFEST_FIELD',
    /apiVersion: expected "v1", found "v2"/,
  ],
  ['no name', pod({ metadata: {} }), 'SHUNT_E_MANIFEST_FIELD', /metadata\.name: is missing/],
  [
    'a name with capitals',
    pod({ metadata: { name: 'A' } }),
    'SHUNT_E_MANIFEST_FIELD',
    /metadata\.name: expected lower-case/,
  ],
  ['a name that climbs', pod({ metadata: { name: '../x' } }), 'SHUNT_E_MANIFEST_FIELD', /metadata\.name/],
  [
    'a name with a line break',
    pod({ metadata: { name: 'a\nb' } }),
    'SHUNT_E_MANIFEST_FIELD',
    /metadata\.name/,
  ],
  [
    'a number for an annotation',
    'apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {a: 80}}\nspec: {}\n',
    'SHUNT_E_MANIFEST_FIELD',
    /metadata\.annotations\.a: expected string, found 80/,
  ],
  ['no spec', pod({ spec: undefined }), 'SHUNT_E_MANIFEST_FIELD', /spec: is missing/],
  [
    'a word for hostNetwork',
    pod({ spec: { hostNetwork: 'yes' } }),
    'SHUNT_E_MANIFEST_FIELD',
    /spec\.hostNetwork: expected boolean/,
  ],
  [
    'a word for a uid',
    pod({ spec: { containers: [{ name: 'a' }, { name: 'b', securityContext: { runAsUser: '1' } }] } }),
    'SHUNT_E_MANIFEST_FIELD',
    /spec\.containers\[1\]\.securityContext\.runAsUser: expected number, found "1"/,
  ],
  [
    'a negative uid',
    pod({ spec: { containers: [{ name: 'a', securityContext: { runAsUser: -1 } }] } }),
    'SHUNT_E_MANIFEST_FIELD',
    /runAsUser: expected >=0, found -1/,
  ],
  [
    'a pod IP that is none',
    pod({ status: { podIPs: [{ ip: '10.0.0.256' }] } }),
    'SHUNT_E_MANIFEST_FIELD',
    /status\.podIPs\[0\]\.ip: expected an IP address/,
  ],
  ['more than 1 MiB', `#${' '.repeat(MAX_MANIFEST_BYTES)}`, 'SHUNT_E_MANIFEST_TOO_LARGE', /1 MiB/],
  [
    'more than 1 MiB of few characters',
    `# ${'\u{1F600}'.repeat(MAX_MANIFEST_BYTES / 4)}`,
    'SHUNT_E_MANIFEST_TOO_LARGE',
    /1 MiB/,
  ],
  ['aliases of aliases', laughs(6), 'SHUNT_E_MANIFEST_TOO_LARGE', /aliases/],
];

function laughs(levels: number): string {
  const lines = Array.from(
    { length: levels },
    (_, i) => `l${i}: &l${i} [${Array(9).fill(i === 0 ? 'x' : `*l${i - 1}`)}]`,
  );
  return `${lines.join('\n')}\n`;
}

for (const [what, text, code, says] of REFUSED) {
  test(`${what} is refused with ${code}`, () => {
    const error = refusal(text);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
  });
}

test('any text is read or refused with a code, and never crashes', () => {
  const yamlish = fc.array(
    fc.constantFrom(
      'kind: Pod',
      ' ',
      '\n',
      '- ',
      '{',
      '}',
      '[',
      ']',
      '&a',
      '*a',
      ':',
      '"',
      "'",
      '|',
      '>',
      '#',
      '---',
      '!!',
      'x',
      '\t',
      '? ',
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        yamlish.map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          parseManifest(text, 'f');
        } catch (error) {
          assert.ok(error instanceof ShuntError, String(error));
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('any JSON in the place of a field is read or refused with a code', () => {
  const paths = ['metadata', 'spec', 'status'] as const;
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
      try {
        parseManifest(JSON.stringify({ ...MINIMAL, [path]: value }), 'f');
      } catch (error) {
        assert.ok(error instanceof ShuntError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
