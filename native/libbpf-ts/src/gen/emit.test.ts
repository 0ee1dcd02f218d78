import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { compile, objectFile } from '../../test/objects.ts';
import { type EmitObject, emit } from './emit.ts';
import { readModel } from './model.ts';

function generate(name: string, importFrom = 'libbpf-ts'): string {
  return emit([object(name)], importFrom);
}

function object(name: string): EmitObject {
  return { model: readModel(readFileSync(objectFile(name))), name, source: `${name}.bpf.o` };
}

/** The text of one exported declaration. */
function declaration(text: string, start: string): string {
  const at = text.indexOf(start);
  assert.ok(at >= 0, `${start} in\n${text}`);
  return text.slice(at, text.indexOf('\n}', at) + 2);
}

test('the committed code is what the object file gives', () => {
  const committed = readFileSync(new URL('../../test/gen/everything.ts', import.meta.url), 'utf8');
  assert.equal(generate('everything'), committed);
  const awkward = readFileSync(new URL('../../test/gen/awkward.ts', import.meta.url), 'utf8');
  assert.equal(generate('awkward'), awkward);
});

test('kernel types that a program only points to are not generated', () => {
  assert.doesNotMatch(generate('iterate'), /interface|seq_file|BpfIter/);
  assert.doesNotMatch(generate('awkward'), /TaskStruct|pid/);
});

test('types that only an unused global names are generated', () => {
  assert.match(generate('everything'), /export interface Event \{/);
});

test('tags that come to one name get two', () => {
  const text = generate('awkward');
  assert.match(text, /export interface Item \{/);
  assert.match(declaration(text, 'export interface Item {'), /kind: ItemEnum; \/\/ enum Item/);
  assert.match(text, /export const ItemEnum = \{\n {2}ITEM_SMALL: -1,\n {2}ITEM_LARGE: 300,\n\}/);
  assert.match(text, /codec\.enumeration\(ItemEnum, codec\.i32\)/);
});

test('types without a name are called after where they stand', () => {
  const text = generate('awkward');
  assert.match(text, /export const ItemMode = \{/);
  assert.match(text, /export interface TypedefOnlyT \{/);
});

test('arrays of arrays keep their dimensions', () => {
  const members = declaration(generate('awkward'), 'export interface Matrix {');
  assert.match(members, /cells: number\[\]\[\]; \/\/ __u16\[2\]\[3\]/);
  assert.match(members, /names: string\[\]; \/\/ char\[2\]\[8\]/);
  assert.match(members, /inner: TypedefOnlyT\[\]; \/\/ typedef_only_t\[2\]/);
});

test('a map without types has bytes of the sizes it was given', () => {
  assert.match(generate('awkward'), /untyped: \{\n {6}type: 'hash',\n {6}key: bytes6,\n {6}value: bytes4,\n/);
});

test('the module that is imported from can be named', () => {
  assert.match(generate('iterate', '../libbpf.ts'), /from '\.\.\/libbpf\.ts';/);
});

test('types that objects share are written once, and each object is defined', () => {
  const text = emit([object('everything'), { ...object('everything'), name: 'again' }], 'libbpf-ts');
  assert.equal(text.split('export interface Event {').length, 2);
  assert.match(text, /export const everything = defineObject/);
  assert.match(text, /export const again = defineObject/);
  const alone = generate('everything');
  assert.equal(
    text
      .replace(/export const again = .*/s, '')
      .trimEnd()
      .split('\n').length,
    alone.trimEnd().split('\n').length,
  );
});

test('one name for two types in two objects is refused, with both files named', () => {
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-emit-'));
  try {
    const file = join(directory, 'other.bpf.c');
    writeFileSync(
      file,
      `#include <linux/bpf.h>
       #include <bpf/bpf_helpers.h>
       struct event { int different; };
       const struct event *unused_event __attribute__((unused));
       char LICENSE[] SEC("license") = "GPL";`,
    );
    const other = { model: readModel(readFileSync(compile(file))), name: 'other', source: 'other.bpf.o' };
    assert.throws(
      () => emit([object('everything'), other], 'libbpf-ts'),
      /struct event is not the same in everything\.bpf\.o and other\.bpf\.o/,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
