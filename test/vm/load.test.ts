/**
 * Every program of every object, one by one, on the kernel that runs this: the facts that the tiers stand on. A
 * rejected program shows the verifier's last lines.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BpfError, openObject } from 'libbpf-ts';

const OBJECTS = join(import.meta.dirname, '..', '..', 'dist', 'bpf');
const LOG_LINES = 12;
/**
 * Of the million that the verifier visits before it gives up: far enough from it that another compiler's or kernel's way
 * through a program still loads, and that an agent starts in a moment.
 */
const VISITS = 100_000;
/** Enough for any program; the sizes of a node are no matter of the verifier. */
const MAP_ENTRIES = 64;

async function load(file: string, program: string): Promise<void> {
  using object = openObject(file);
  for (const [name, { maxEntries }] of Object.entries(object.maps)) {
    const map = object.maps[name];
    // 0: socket storage, and what the object leaves to the loader.
    if (map !== undefined && maxEntries > MAP_ENTRIES && map.type !== 'ringbuf') map.maxEntries = MAP_ENTRIES;
  }
  for (const [name, each] of Object.entries(object.programs)) each.autoload = name === program;
  try {
    using loaded = await object.load();
    const { verifiedInstructions } = loaded.programs[program]?.info() ?? assert.fail('not loaded');
    assert.ok(verifiedInstructions < VISITS, `the verifier visits ${verifiedInstructions} instructions`);
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    const log = error.log?.tail(LOG_LINES) ?? error.messages.join('\n');
    assert.fail(`${error.message}\n${log}`);
  }
}

/** Programs that older kernels have in another form, by object; an agent takes the first that loads. */
const FORMS: Readonly<Record<string, string>> = { 'sockops.bpf.o': 'sockops_btf.bpf.o' };

for (const object of readdirSync(OBJECTS).filter((name) => name.endsWith('.bpf.o'))) {
  const file = join(OBJECTS, object);
  const other = FORMS[object];
  using opened = openObject(file);
  for (const { name, section } of Object.values(opened.programs)) {
    if (other === undefined) test(`${object}: ${name} (${section}) loads`, () => load(file, name));
    else
      test(`${object} or ${other}: ${name} (${section}) loads`, () =>
        load(file, name).catch(() => load(join(OBJECTS, other), name)));
  }
}
