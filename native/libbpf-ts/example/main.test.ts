import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { compile } from '../test/objects.ts';
import { connectFrom, listen, makeCgroup } from '../test/place.ts';

const at = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

function start(...args: string[]) {
  const child = spawn(process.execPath, ['--conditions=source', at('main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => (await lines.next()).value ?? '';
  return { child, line, exit: once(child, 'exit') };
}

test('the example of the README shows connections, and refuses those it is told to', {
  timeout: 60_000,
}, async () => {
  using cgroup = makeCgroup();
  await using open = await listen();
  await using closed = await listen();
  const example = start(compile(at('connections.bpf.c')), cgroup.path, String(closed.port));
  assert.match(await example.line(), /^watching .* \(link \d+\)/);
  assert.ok(await connectFrom(cgroup.path, open.port));
  assert.ok(!(await connectFrom(cgroup.path, closed.port)));
  assert.match(await example.line(), new RegExp(`^bash\\[\\d+\\] -> 127\\.0\\.0\\.1:${open.port}$`));
  assert.match(await example.line(), new RegExp(`:${closed.port}$`));
  example.child.kill('SIGINT');
  const rest = [await example.line(), await example.line()].sort();
  assert.deepEqual(rest, [`port ${open.port}: 1`, `port ${closed.port}: 1`].sort());
  assert.deepEqual(await example.exit, [0, null]);
});

test('a cgroup that is none ends the example with the reason', async () => {
  const child = spawn(
    process.execPath,
    ['--conditions=source', at('main.ts'), compile(at('connections.bpf.c')), '/tmp'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const text = (await Array.fromAsync(child.stderr)).join('');
  assert.match(
    text,
    /^attach program on_connect: EBADF: to \/tmp\n {2}the target is not a cgroup v2 directory/,
  );
});

test('the generated code of the example is current', () => {
  const args = ['gen', compile(at('connections.bpf.c')), '-o', at('gen/connections.ts'), '--check'];
  execFileSync(process.execPath, [at('../src/cli.ts'), ...args]);
});

test('the README shows the example as it is', () => {
  const readme = readFileSync(at('../README.md'), 'utf8');
  const code = readFileSync(at('main.ts'), 'utf8').split('\n').slice(1).join('\n').trim();
  assert.ok(readme.includes(code), 'README.md does not hold example/main.ts');
});
