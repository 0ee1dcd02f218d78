/** What the chart gives, held against the API of several versions of Kubernetes: no unknown field, no wrong type. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as v from 'valibot';
import { CHART, chartValues, RELEASE, renderChart } from './chart.ts';
import { documentsOf } from './evaluate.ts';
import { MANIFESTS } from './manifests.ts';
import { VALUES } from './values_fixture.ts';

const SCHEMAS = join(import.meta.dirname, '../../.cache/kubernetes-schemas');
const VERSIONS = existsSync(SCHEMAS) ? readdirSync(SCHEMAS).map((name) => name.replace(/\.json$/, '')) : [];
const MISSING = 'no .cache/kubernetes-schemas: npm run test:chart fetches them';

const Identity = v.object({ apiVersion: v.string(), kind: v.string() });
const Definitions = v.object({
  $defs: v.record(v.string(), v.looseObject({ properties: v.optional(v.any()) })),
});

/** Gives what is wrong with an object, null when nothing is; the kinds of other projects are not known. */
function validator(version: string): (object: object) => string | null {
  const schema: unknown = JSON.parse(readFileSync(join(SCHEMAS, `${version}.json`), 'utf8'));
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
  ajv.addSchema({ ...v.parse(v.looseObject({}), schema), $id: 'k8s' });
  const byKind = new Map<string, string>();
  const Enum = v.object({ enum: v.tuple([v.string()]) });
  const Typed = v.looseObject({ apiVersion: Enum, kind: Enum });
  for (const [name, { properties }] of Object.entries(v.parse(Definitions, schema).$defs)) {
    if (!v.is(Typed, properties)) continue;
    byKind.set(`${properties.apiVersion.enum[0]} ${properties.kind.enum[0]}`, name);
  }
  return (object) => {
    const { apiVersion, kind } = v.parse(Identity, object);
    const name = byKind.get(`${apiVersion} ${kind}`);
    if (name === undefined) throw new Error(`Kubernetes ${version} has no ${kind} of ${apiVersion}`);
    const validate = ajv.getSchema(`k8s#/$defs/${name}`);
    assert.ok(validate);
    return validate(object) ? null : `${kind}: ${ajv.errorsText(validate.errors)}`;
  };
}

function isForeign(object: object): boolean {
  return /monitoring\.coreos\.com|security\.openshift\.io/.test(v.parse(Identity, object).apiVersion);
}

for (const version of VERSIONS) {
  test(`Kubernetes ${version} knows every field that the chart sets`, () => {
    const faultOf = validator(version);
    for (const values of VALUES) {
      const objects = renderChart(values, { ...RELEASE, kubeVersion: `v${version}.0` });
      const faults = objects.filter((object) => !isForeign(object)).map(faultOf);
      assert.deepEqual(
        faults.filter((fault) => fault !== null),
        [],
        JSON.stringify(values),
      );
    }
  });
}

test('every object of the plain manifests is taken by the newest versions', (t) => {
  if (VERSIONS.length === 0) return t.skip(MISSING);
  for (const version of VERSIONS.filter((name) => Number(name.split('.')[1]) >= 30)) {
    const faultOf = validator(version);
    for (const file of readdirSync(MANIFESTS)) {
      const objects = documentsOf(file, readFileSync(join(MANIFESTS, file), 'utf8'));
      assert.ok(objects.length > 0);
      for (const object of objects) if (!isForeign(object)) assert.equal(faultOf(object), null, file);
    }
  }
});

test('a field that is misspelt, and a type that is wrong, would be found', (t) => {
  const [version] = VERSIONS;
  if (version === undefined) return t.skip(MISSING);
  const faultOf = validator(version);
  const binding = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'a' } };
  assert.equal(faultOf(binding), null);
  assert.match(faultOf({ ...binding, automountToken: true }) ?? '', /must NOT have additional properties/);
  assert.match(faultOf({ ...binding, metadata: { name: 1 } }) ?? '', /name must be string/);
});

test('values.schema.json takes the values of the chart, and refuses others by name', () => {
  const schema: unknown = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
  const validate = new Ajv({ strictTypes: false }).compile(v.parse(v.looseObject({}), schema));
  for (const values of VALUES) assert.ok(validate(chartValues(values)), JSON.stringify(validate.errors));
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ agents: {} }, /additional properties/],
    [{ agent: { backend: 'ipvs' } }, /allowed values/],
    [{ agent: { acceleration: true } }, /allowed values/],
    [{ metrics: { port: 70_000 } }, /<= 65535/],
    [{ cni: { confDir: 'etc' } }, /pattern/],
    [{ podMonitor: { enabled: true }, metrics: { expose: false } }, /constant/],
  ];
  for (const [values, fault] of wrong) {
    assert.equal(validate(chartValues(values)), false, JSON.stringify(values));
    assert.match(JSON.stringify(validate.errors), fault);
  }
});
