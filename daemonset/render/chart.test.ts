import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as v from 'valibot';
import packageJson from '../../package.json' with { type: 'json' };
import { CHART, mappingOf, RELEASE, renderChart } from './chart.ts';

const Container = v.object({
  name: v.string(),
  args: v.optional(v.array(v.string()), []),
  securityContext: v.object({
    privileged: v.literal(false),
    allowPrivilegeEscalation: v.literal(false),
    readOnlyRootFilesystem: v.literal(true),
    capabilities: v.object({ drop: v.tuple([v.literal('ALL')]), add: v.array(v.string()) }),
  }),
  volumeMounts: v.array(v.object({ name: v.string(), mountPath: v.string() })),
});
const DaemonSet = v.object({
  kind: v.literal('DaemonSet'),
  spec: v.object({
    template: v.object({
      metadata: v.object({ annotations: v.record(v.string(), v.string()) }),
      spec: v.object({
        securityContext: v.record(v.string(), v.unknown()),
        initContainers: v.optional(v.array(Container), []),
        containers: v.array(Container),
        volumes: v.array(v.looseObject({ name: v.string() })),
      }),
    }),
  }),
});

function daemonSet(values: Record<string, unknown> = {}, kubeVersion = RELEASE.kubeVersion) {
  const found = renderChart(values, { ...RELEASE, kubeVersion }).find((object) => v.is(DaemonSet, object));
  assert.ok(found, 'a DaemonSet whose containers are unprivileged');
  return v.parse(DaemonSet, found).spec.template;
}

function kinds(values: Record<string, unknown> = {}): string[] {
  return renderChart(values).map((object) => ('kind' in object ? String(object.kind) : ''));
}

test('by default the chart is what a node needs and nothing that a cluster may lack', () => {
  assert.deepEqual(kinds().sort(), [
    'ClusterRole',
    'ClusterRoleBinding',
    'ConfigMap',
    'DaemonSet',
    'ServiceAccount',
  ]);
});

test('the version is that of the package', () => {
  const { version, appVersion } = mappingOf('Chart.yaml');
  assert.deepEqual([version, appVersion], [packageJson.version, packageJson.version]);
});

test('every mount has its volume, and the other way round', () => {
  for (const values of [
    {},
    { cni: { enabled: false } },
    { host: { kubeletConfig: '/k' } },
    { mode: 'cleanup' },
  ]) {
    const { initContainers, containers, volumes } = daemonSet(values).spec;
    for (const container of [...initContainers, ...containers]) {
      const mounted = container.volumeMounts.map(({ name }) => name).sort();
      assert.deepEqual(mounted, volumes.map(({ name }) => name).sort(), container.name);
    }
  }
});

test('only a repair that deletes may delete', () => {
  const verbs = (values: object) => JSON.stringify(renderChart({ agent: values })).includes('"delete"]');
  assert.equal(verbs({}), false);
  assert.equal(verbs({ repair: 'delete' }), true);
});

test('AppArmor is told by field where there is one, and by annotation before', () => {
  const key = 'container.apparmor.security.beta.kubernetes.io/agent';
  const newer = daemonSet({}, 'v1.30.0');
  assert.deepEqual(newer.spec.securityContext.appArmorProfile, { type: 'Unconfined' });
  assert.equal(newer.metadata.annotations[key], undefined);
  const older = daemonSet({}, 'v1.29.9');
  assert.equal(older.spec.securityContext.appArmorProfile, undefined);
  assert.equal(older.metadata.annotations[key], 'unconfined');
});

test('cleanup takes the plugin out before the pins, and then looks', () => {
  const words = daemonSet({ mode: 'cleanup' }).spec.initContainers.map(({ args }) =>
    args.slice(0, 2).join(' '),
  );
  assert.deepEqual(words, ['cni uninstall', 'cleanup', 'cleanup --verify']);
  assert.deepEqual(kinds({ mode: 'cleanup' }), kinds(), 'the same release');
});

test('a PodMonitor that could reach nobody is refused', () => {
  assert.throws(
    () => renderChart({ podMonitor: { enabled: true } }),
    /podmonitor\.yaml:\d+: .*metrics\.expose/,
  );
  assert.ok(kinds({ podMonitor: { enabled: true }, metrics: { expose: true } }).includes('PodMonitor'));
});

test('alerts and dashboard speak of metrics that there are, in labels that they have', (t) => {
  const page = join(import.meta.dirname, '../../docs/metrics.md');
  if (!existsSync(page)) return t.skip('docs/metrics.md is not there yet');
  const known = new Set(
    [...readFileSync(page, 'utf8').matchAll(/^\| `(\w+)` \| (?:gauge|counter|histogram)/gm)].map(
      ([, name]) => name,
    ),
  );
  for (const file of ['alerts.yaml', 'dashboard.json']) {
    const used = readFileSync(join(CHART, file), 'utf8').matchAll(/\b(?:shunt|process)_[a-z_]+/g);
    const unknown = [...used]
      .map(([name]) => name.replace(/_bucket$/, ''))
      .filter((name) => !known.has(name));
    assert.deepEqual(unknown, [], file);
  }
});

test('values.schema.json knows every value of values.yaml, and no other', () => {
  const Schema = v.looseObject({ properties: v.optional(v.record(v.string(), v.unknown())) });
  const compare = (value: unknown, schema: unknown, path: string): void => {
    const { properties } = v.parse(Schema, schema);
    if (properties === undefined) return;
    const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    const expected = Object.keys(properties).filter((key) => key !== 'global');
    assert.deepEqual(keys.sort(), expected.sort(), `values${path}`);
    for (const [key, below] of Object.entries(value ?? {})) compare(below, properties[key], `${path}.${key}`);
  };
  compare(mappingOf('values.yaml'), JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')), '');
});
