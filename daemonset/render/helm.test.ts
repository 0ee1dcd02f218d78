/**
 * Helm itself as the oracle of our renderer, where there is one: `helm` of PATH, or SHUNT_HELM. With Go at hand:
 * go install helm.sh/helm/v3/cmd/helm@v3.19.2
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import * as v from 'valibot';
import { CHART, RELEASE, renderChart } from './chart.ts';
import { documentsOf, yamlText } from './evaluate.ts';
import { VALUES } from './values_fixture.ts';

const HELM = process.env.SHUNT_HELM ?? 'helm';
const absent = spawnSync(HELM, ['version']).status !== 0;

function helm(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(HELM, args, { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

function template(values: object, kubeVersion: string): object[] {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-helm-'));
  try {
    const file = join(folder, 'values.yaml');
    writeFileSync(file, yamlText(values));
    const { name, namespace } = RELEASE;
    const text = helm('template', name, CHART, '-n', namespace, '-f', file, '--kube-version', kubeVersion);
    return documentsOf('helm template', text);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const Identity = v.object({ kind: v.string(), metadata: v.object({ name: v.string() }) });

/** Helm sorts by kind; the order says nothing. */
function byIdentity(objects: object[]): Map<string, object> {
  return new Map(
    objects.map((object): [string, object] => {
      const { kind, metadata } = v.parse(Identity, object);
      return [`${kind} ${metadata.name}`, object];
    }),
  );
}

const skip = absent && 'there is no helm here';

describe('Helm', () => {
  before(() => absent || helm('lint', '--strict', CHART));

  it('makes of the chart what our renderer makes of it', { skip }, () => {
    for (const kubeVersion of ['v1.29.3', 'v1.34.0']) {
      for (const values of VALUES) {
        const ours = byIdentity(renderChart(values, { ...RELEASE, kubeVersion }));
        const theirs = byIdentity(template(values, kubeVersion));
        assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
        for (const [identity, object] of theirs) assert.deepEqual(ours.get(identity), object, identity);
      }
    }
  });

  it('refuses values that the schema does not know', { skip }, () => {
    assert.throws(() => template({ agents: {} }, 'v1.34.0'), /additional.*agents/is);
    assert.throws(() => template({ podMonitor: { enabled: true } }, 'v1.34.0'), /expose/);
  });
});
