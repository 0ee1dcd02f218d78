import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { importsOf, reachedFrom, sourceFiles } from './imports.mjs';
import { at } from './place.mjs';

const brief = (source) =>
  importsOf(source).map(({ specifier, line, typeOnly, lazy }) =>
    [line, specifier, typeOnly && 'type', lazy && 'lazy'].filter(Boolean).join(' '),
  );

test('every form of import is found, with its line', () => {
  const source = `#!/usr/bin/env node
import a from 'a';
import * as b from "b";
import c, { d as dd, type E } from 'c';
import {
  f,
} from 'f';
import 'g';
export * from 'h';
export { i } from 'i';
export * as j from 'j';
const k = await import('k');
const l = require('l');
import m from './m.json' with { type: 'json' };
`;
  const found = [
    '2 a',
    '3 b',
    '4 c',
    '5 f',
    '8 g',
    '9 h',
    '10 i',
    '11 j',
    '12 k lazy',
    '13 l lazy',
    '14 ./m.json',
  ];
  assert.deepEqual(brief(source), found);
});

test('imports of types alone are told from those that run', () => {
  const source = `import type { A } from 'a';
import type B from 'b';
import { type C, type D } from 'c';
import { type E, f } from 'e';
export type { G } from 'g';
export type * from 'h';
import type from 'i';
import { type as j } from 'j';
`;
  const found = ['1 a type', '2 b type', '3 c type', '4 e', '5 g type', '6 h type', '7 i', '8 j'];
  assert.deepEqual(brief(source), found);
});

test('what only looks like an import is not one', () => {
  const source = `// import a from 'a';
/* import b from 'b'; */
const c = "import c from 'c'";
const d = \`import d from 'd' \${e({ f: "from 'f'" })} import('g')\`;
const h = /import h from '"/.test(i) / 2;
const j = k / l; const m = "from 'n'"; const o = p / q;
object.import('r');
export const from = 's';
export function t() { return import.meta.url; }
export type U = 'u';
`;
  assert.deepEqual(brief(source), []);
});

test('an import inside a template substitution counts', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
  assert.deepEqual(brief("`${`${await import('a')}`} '`; import 'b';"), ['1 a lazy', '1 b']);
});

test('all of our own sources can be read to their end', () => {
  for (const file of sourceFiles()) {
    const source = readFileSync(at(file), 'utf8');
    const marked = `${source}\nimport 'the-end';\n`;
    assert.equal(importsOf(marked).at(-1)?.specifier, 'the-end', file);
  }
});

test('what a module reaches leaves out types and lazy imports', () => {
  const reached = reachedFrom('src/cli/main.ts');
  assert.ok(reached.has('commander'));
  assert.ok(!reached.has('koffi'), 'a command that needs no kernel must not load the FFI');
});
