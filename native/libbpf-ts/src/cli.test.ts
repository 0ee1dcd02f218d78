import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { objectFile } from '../test/objects.ts';

const CLI = fileURLToPath(new URL('cli.ts', import.meta.url));

function run(...args: string[]) {
  return spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' });
}

function scratch(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'libbpf-ts-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test('gen writes the file, and --check says whether it is current', () => {
  using directory = scratch();
  const file = join(directory.path, 'iterate.ts');
  const object = objectFile('iterate');
  assert.equal(run('gen', object, '-o', file).status, 0);
  assert.equal(readFileSync(file, 'utf8'), run('gen', object).stdout);
  assert.equal(run('gen', object, '-o', file, '--check').status, 0);
  writeFileSync(file, 'stale');
  const stale = run('gen', object, '-o', file, '--check');
  assert.equal(stale.status, 1);
  assert.match(stale.stderr, /is stale: run libbpf-ts gen/);
  assert.equal(readFileSync(file, 'utf8'), 'stale', '--check writes nothing');
});

test('the name and the import can be chosen', () => {
  const { stdout } = run('gen', objectFile('iterate'), '--name', 'map-walk', '--import', '#bpf');
  assert.match(stdout, /import \{ codec, defineObject \} from '#bpf';/);
  assert.match(stdout, /export const mapWalk = defineObject\(\{\n {2}name: 'map-walk',/);
});

test('wrong usage exits 2, a file that is no object 1, each with a reason', () => {
  assert.equal(run().status, 2);
  assert.equal(run('gen').status, 2);
  assert.equal(run('gen', 'x.o', '--check').status, 2);
  assert.match(run('gen', 'x.o', '--nonsense').stderr, /nonsense/);
  assert.equal(run('--help').status, 0);
  const missing = run('gen', '/nowhere/x.bpf.o');
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /^libbpf-ts: ENOENT/);
  const notElf = run('gen', CLI);
  assert.equal(notElf.status, 1);
  assert.match(notElf.stderr, /not an ELF file\n {2}compile it with/);
  assert.match(run('gen', process.execPath).stderr, /not compiled for BPF/);
});
