import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ShuntError } from '../errors.ts';
import { parseSettings, SettingsFile } from './settings_file.ts';

describe('a settings file', () => {
  it('is YAML or JSON, and may be empty', () => {
    assert.deepEqual(parseSettings('', 'f'), {});
    assert.deepEqual(parseSettings('nameservers: [10.96.0.10, "FD00::A"]', 'f'), {
      nameservers: ['10.96.0.10', 'fd00::a'],
    });
    assert.deepEqual(parseSettings('{"linkerd": {"outboundPort": 5140}}', 'f'), {
      linkerd: { outboundPort: 5140 },
    });
  });

  const MESH = '{name: acme, container: proxy, outboundPort: 1, inboundPort: 2';
  const wrong: [string, string, RegExp][] = [
    ['a key that there is not', 'nameserver: [10.0.0.1]', /^f: nameserver: there is no such setting$/],
    [
      'a port that is none',
      'linkerd: {outboundPort: 70000}',
      /linkerd\.outboundPort: expected a port.*70000/,
    ],
    ['a server that is a name', 'nameservers: [dns.example]', /nameservers\.0: expected an IP address/],
    ['a value of another type', 'kuma: {dns: {captureAll: "no"}}', /kuma\.dns\.captureAll: expected boolean/],
    [
      'a missing port',
      'custom: [{name: a, container: b, outboundPort: 1}]',
      /custom\.0\.inboundPort: is missing/,
    ],
    [
      "a known mesh's name",
      `custom: [${MESH.replace('acme', 'istio')}}]`,
      /custom\.0\.name: expected a name/,
    ],
    ['two meshes of one name', `custom: [${MESH}}, ${MESH}}]`, /custom: expected each name once/],
    [
      'a bad CIDR',
      `custom: [${MESH}, excludeOutboundCidrs: [10.0.0.0/33]}]`,
      /Cidrs\.0: expected an address/,
    ],
    [
      'an annotation without quotes',
      'namespaces: {a: {annotations: {b: true}}}',
      /namespaces\.a\.annotations\.b/,
    ],
    ['a list', '[1]', /^f: it is a list/],
    ['no YAML', 'a: [', /^f: not YAML: /],
    ['a key twice', 'nameservers: []\nnameservers: []', /not YAML: .*unique/],
  ];
  for (const [what, text, message] of wrong) {
    it(`with ${what} is refused with the key and what it takes`, () => {
      assert.throws(
        () => parseSettings(text, 'f'),
        (error) => {
          assert.ok(error instanceof ShuntError);
          assert.equal(error.code, 'SHUNT_E_SETTINGS');
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }
});

describe('an agent with a settings file', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'shunt-settings-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  const put = (file: string, text: string) => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };

  it('does not start without it, or when it is wrong', () => {
    assert.throws(() => new SettingsFile(join(folder, 'none.yaml')), { code: 'SHUNT_E_FILE' });
    const file = join(folder, 'wrong.yaml');
    put(file, 'x: 1');
    assert.throws(() => new SettingsFile(file), { code: 'SHUNT_E_SETTINGS' });
  });

  it('takes a change, and keeps the last good settings where a change is wrong', async () => {
    const file = join(folder, 'settings.yaml');
    put(file, 'nameservers: [10.0.0.1]');
    const settings = new SettingsFile(file);
    const stop = new AbortController();
    const told: string[] = [];
    const steps: (() => void)[] = [
      () => put(file, 'nameservers: [dns]'),
      () => put(file, 'nameservers: [10.0.0.2]'),
      () => stop.abort(),
    ];
    const watching = settings.watch(stop.signal, async (outcome) => {
      told.push(`${outcome} ${settings.settings.nameservers} ${settings.error?.code ?? 'good'}`);
      steps.shift()?.();
    });
    steps.shift()?.();
    await watching;
    assert.deepEqual(told, ['rejected 10.0.0.1 SHUNT_E_SETTINGS', 'changed 10.0.0.2 good']);
  });
});
