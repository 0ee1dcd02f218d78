import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { at } from './place.mjs';
import { hold } from './setup/lock.mjs';
import { PACKAGES, USES } from './setup/packages.mjs';
import { filesUnder, hash, Stamps } from './setup/stamps.mjs';

function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-setup-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('a second set-up waits for the first', async (t) => {
  const file = join(scratch(t), 'lock');
  const first = await hold(file, () => assert.fail('nobody else holds it'));
  let releaseFirst;
  const waited = new Promise((resolve) => (releaseFirst = resolve));
  const second = hold(file, releaseFirst);
  await waited;
  await first();
  await (await second)();
});

test('the lock of a set-up that was killed is free', async (t) => {
  const file = join(scratch(t), 'lock');
  const lock = pathToFileURL(at('.ci/setup/lock.mjs'));
  const program = `await (await import('${lock}')).hold('${file}'); console.log('held'); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await (await hold(file, () => {}))();
});

test('a hash follows contents and names, and neither order nor time', (t) => {
  const folder = scratch(t);
  const [a, b, c] = ['a', 'b', 'c'].map((name) => join(folder, name));
  writeFileSync(a, '1');
  writeFileSync(b, '2');
  const before = hash([a, b]);
  utimesSync(a, 1, 1);
  assert.equal(hash([b, a]), before);
  assert.notEqual(hash([a, b], ['-O3']), before);
  writeFileSync(c, '2');
  assert.notEqual(hash([a, c]), before);
  writeFileSync(a, '12');
  writeFileSync(b, '');
  assert.notEqual(hash([a, b]), before);
});

test('a step is done again when its output was touched or is gone', (t) => {
  const folder = scratch(t);
  const file = join(folder, 'out');
  writeFileSync(file, 'made');
  const stamps = new Stamps(join(folder, 'stamps.json'));
  assert.equal(stamps.current('step', 'x'), false);
  stamps.record('step', 'x', [file]);
  const later = () => new Stamps(join(folder, 'stamps.json'));
  assert.equal(later().current('step', 'x'), true);
  assert.equal(later().current('step', 'y'), false);
  utimesSync(file, 1, 1);
  assert.equal(later().current('step', 'x'), false);
  rmSync(file);
  stamps.record('step', 'x', [file]);
  assert.equal(later().current('step', 'x'), false);
});

test('a stamp file cut short means that everything is done anew', (t) => {
  const file = join(scratch(t), 'stamps.json');
  writeFileSync(file, '{"step": {"inp');
  assert.equal(new Stamps(file).current('step', 'x'), false);
});

test('what could not be had is remembered for a while', (t) => {
  const stamps = new Stamps(join(scratch(t), 'stamps.json'));
  assert.equal(stamps.failedSince('envoy', 60_000), undefined);
  stamps.recordFailure('envoy');
  assert.ok(stamps.failedSince('envoy', 60_000) < 60_000);
  assert.equal(stamps.failedSince('envoy', 0), undefined);
});

test('files of a folder that is not there are none', (t) => {
  assert.deepEqual(
    filesUnder(join(scratch(t), 'no'), () => true),
    [],
  );
});

test('every package has a use that some purpose asks for', () => {
  const uses = new Set(Object.values(USES).flat());
  for (const { name, use } of PACKAGES) assert.ok(uses.has(use), name);
});
