import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { objectFile } from '../test/objects.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
const TSC = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');

function run(cwd: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

/** A project of somebody else's, with the package built and installed as the registry would give it. */
function project(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'libbpf-ts-'));
  const modules = join(path, 'node_modules');
  const installed = join(modules, 'libbpf-ts');
  mkdirSync(join(modules, '@types'), { recursive: true });
  mkdirSync(installed);
  run(ROOT, TSC, '-p', 'tsconfig.build.json', '--outDir', join(installed, 'dist'));
  cpSync(join(ROOT, 'package.json'), join(installed, 'package.json'));
  symlinkSync(dirname(require.resolve('koffi')), join(modules, 'koffi'));
  symlinkSync(dirname(require.resolve('@types/node/package.json')), join(modules, '@types', 'node'));
  symlinkSync(dirname(require.resolve('undici-types/package.json')), join(modules, 'undici-types'));
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }');
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test('the package works as it is published: generator, types and library', () => {
  using consumer = project();
  const object = objectFile('everything');
  run(
    consumer.path,
    join('node_modules', 'libbpf-ts', 'dist', 'cli.js'),
    'gen',
    object,
    '-o',
    'everything.ts',
  );
  writeFileSync(
    join(consumer.path, 'main.ts'),
    `import { everything } from './everything.ts';
     using open = everything.open({ file: process.argv[2] ?? '' });
     open.maps.slots.maxEntries = 3;
     using object = await open.load();
     object.maps.slots.set(2, 22n);
     console.log(JSON.stringify([...object.maps.slots].map(([key, value]) => [key, String(value)])));\n`,
  );
  // Strict as can be, and with the declarations of the package checked as well.
  const compilerOptions = {
    target: 'esnext',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    isolatedModules: true,
    allowImportingTsExtensions: true,
    noEmit: true,
  };
  writeFileSync(
    join(consumer.path, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['main.ts'] }),
  );
  assert.equal(run(consumer.path, TSC, '-p', '.', '--pretty', 'false'), '');
  assert.equal(run(consumer.path, 'main.ts', object), '[[0,"0"],[1,"0"],[2,"22"]]\n');
});
