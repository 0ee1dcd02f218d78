import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runTestFile } from './test-file.mjs';

const HEAD = "import assert from 'node:assert/strict'; import { describe, test } from 'node:test';\n";

async function outcomes(t, body, timeoutMs = 60_000) {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-runner-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'x.test.mjs');
  writeFileSync(file, HEAD + body);
  const { tests, output } = await runTestFile(file, timeoutMs);
  return {
    all: tests.map(({ outcome, name }) => `${outcome}: ${name.replace(file, 'file')}`),
    tests,
    output,
  };
}

test('passed, failed and skipped tests are counted one by one, suites not', async (t) => {
  const { all, tests } = await outcomes(
    t,
    `describe('suite', () => { test('a', () => {}); test('b', () => assert.equal(1, 2)); });
     test('c', { skip: 'no such device' }, () => {});
     test('d', async (t) => { await t.test('e', () => { throw new Error('boom'); }); });`,
  );
  assert.deepEqual(all, ['passed: a', 'failed: b', 'skipped: c', 'failed: e']);
  assert.equal(tests[2].reason, 'no such device');
  assert.match(tests[3].error, /boom/);
});

test('a file without a test fails', async (t) => {
  assert.deepEqual((await outcomes(t, '')).all, ['failed: file holds a test']);
});

test('a file that does not parse fails and shows why', async (t) => {
  const { all, output } = await outcomes(t, 'this is no JavaScript');
  assert.deepEqual(all, ['failed: file holds a test (exit code 1)']);
  assert.match(output, /SyntaxError/);
});

test('a file that ends badly after its tests passed fails', async (t) => {
  const { all } = await outcomes(
    t,
    "test('a', () => {}); process.on('exit', () => { process.exitCode = 3; });",
  );
  assert.deepEqual(all, ['passed: a', 'failed: file ends well (exit code 3)']);
});

test('a suite whose own set-up fails is a failure', async (t) => {
  const body =
    "import { before } from 'node:test'; describe('s', () => { before(() => { throw new Error('bed'); }); test('a', () => {}); });";
  const { all } = await outcomes(t, body);
  assert.ok(
    all.some((line) => line.startsWith('failed: ')),
    all.join('\n'),
  );
});

test('a file that hangs is ended, with the tests that passed before it', async (t) => {
  const body = "test('a', () => {}); setInterval(() => {}, 1000);";
  const { all } = await outcomes(t, body, 2_000);
  assert.deepEqual(all, ['passed: a', 'failed: file ends within 2 s']);
});

test('of a file that hangs in a test, that test is named', async (t) => {
  const body = `test('a', () => {});
    describe('suite', () => { test('b', () => new Promise((resolve) => setTimeout(resolve, 600_000))); });`;
  const { all } = await outcomes(t, body, 2_000);
  assert.equal(all.at(-1), 'failed: file ends within 2 s; it was in: suite > b');
});

test('a file that hangs and ignores SIGTERM is ended as well', async (t) => {
  const body = "process.on('SIGTERM', () => {}); test('a', () => {}); setInterval(() => {}, 1000);";
  const { all } = await outcomes(t, body, 1_500);
  assert.equal(all.at(-1), 'failed: file ends within 1.5 s');
});

test('a process left behind is ended and counts as a failure', async (t) => {
  const body = `import { spawn } from 'node:child_process';
    test('a', () => { spawn('sleep', ['600'], { stdio: 'ignore' }).unref(); });`;
  const { all } = await outcomes(t, body);
  assert.match(all[1], /^failed: file leaves no process behind: sleep \(\d+\)$/);
});
