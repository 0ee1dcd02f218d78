import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { compactJson, plain, renderJson } from './json.ts';
import { renderYaml } from './yaml.ts';

describe('JSON output', () => {
  it('puts what fits on one line and breaks what does not', () => {
    const row = {
      key: '4026531840',
      value: { ip4: '10.0.0.1', flags: ['POD_HAS_IP4'], note: 'x'.repeat(45) },
    };
    assert.equal(
      renderJson([row, { key: 1 }]),
      [
        '[',
        '  {',
        '    "key": "4026531840",',
        `    "value": { "ip4": "10.0.0.1", "flags": ["POD_HAS_IP4"], "note": "${'x'.repeat(45)}" }`,
        '  },',
        '  { "key": 1 }',
        ']',
        '',
      ].join('\n'),
    );
    assert.equal(renderJson([]), '[]\n');
    assert.equal(renderJson({}), '{}\n');
  });

  it('puts each element of a long list on a line of its own', () => {
    const rows = Array.from({ length: 101 }, (_, key) => ({ key: BigInt(key), text: 'x'.repeat(200) }));
    const lines = renderJson(rows).trimEnd().split('\n');
    assert.equal(lines.length, 103);
    assert.deepEqual(JSON.parse(renderJson(rows)), plain(rows));
  });

  it('writes 64-bit values as strings, bytes as hex, and drops what is undefined', () => {
    const value = {
      cookie: 18446744073709551615n,
      raw: new Uint8Array([0, 255]),
      gone: undefined,
      not: Number.NaN,
    };
    assert.deepEqual(JSON.parse(renderJson(value)), {
      cookie: '18446744073709551615',
      raw: '0x00ff',
      not: null,
    });
  });

  it('is what JSON.parse reads back, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const expected = JSON.parse(JSON.stringify(value));
        assert.deepEqual(JSON.parse(renderJson(value)), expected);
        assert.deepEqual(JSON.parse(compactJson(value)), expected);
      }),
    );
  });
});

describe('YAML output', () => {
  it('has the shape of the JSON', () => {
    const value = [
      { key: 7n, value: { addr: '::1', bytes: new Uint8Array([1]), none: null, text: 'yes: no' } },
    ];
    assert.deepEqual(parse(renderYaml(value)), plain(value));
    assert.equal(renderYaml({ cookie: 7n }), 'cookie: "7"\n');
  });
});
