/**
 * Every program of every object, one by one, on the kernel that runs this: the facts that the tiers stand on. A
 * rejected program shows the verifier's last lines.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempDisposableSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BpfError, Btf, openObject } from 'libbpf-ts';

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

for (const object of readdirSync(OBJECTS).filter((name) => name.endsWith('.bpf.o')))
  test(`${object}: no section of its BTF is empty, which 5.10 would refuse`, () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'shunt-btf-'));
    const section = join(folder.path, 'btf');
    execFileSync('llvm-objcopy', ['--dump-section', `.BTF=${section}`, join(OBJECTS, object), '/dev/null']);
    const empty = Btf.parse(readFileSync(section)).types.filter(
      (type) => type.kind === 'datasec' && type.vars.length === 0,
    );
    assert.deepEqual(
      empty.map(({ name }) => name),
      [],
    );
  });

/** The forms of one program; an agent takes the first that loads. */
const FORMS = ['sockops.bpf.o', 'sockops_btf.bpf.o', 'sockops_role.bpf.o'];

for (const object of readdirSync(OBJECTS).filter(
  (name) => name.endsWith('.bpf.o') && !FORMS.includes(name),
)) {
  const file = join(OBJECTS, object);
  using opened = openObject(file);
  for (const { name, section } of Object.values(opened.programs)) {
    test(`${object}: ${name} (${section}) loads`, () => load(file, name));
  }
}

test(`${FORMS.join(' or ')}: shunt_sockops (sockops) loads`, async () => {
  const failures: unknown[] = [];
  for (const form of FORMS) {
    try {
      return await load(join(OBJECTS, form), 'shunt_sockops');
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures);
});
