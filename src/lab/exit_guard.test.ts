import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { it } from 'node:test';

const GUARD = new URL('./exit_guard.ts', import.meta.url).href;

/** Runs a program that says `ready` and waits, sends SIGTERM then, and gives how it ended and what it said. */
async function terminated(body: string): Promise<{ code: number | null; out: string; err: string }> {
  const program = `import { atExit } from '${GUARD}'; ${body}; console.log('ready'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program]);
  const ended = once(child, 'exit');
  child.stdout.once('data', () => child.kill('SIGTERM'));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await ended;
  return { code, out, err };
}

it('takes down at a signal what is left of many, the last one first, and warns of nothing', async () => {
  const { code, out, err } = await terminated(`
    const guards = Array.from({ length: 12 }, (_, index) => atExit(() => console.log('down', index), true));
    for (const guard of guards.slice(2)) { guard[Symbol.dispose](); guard[Symbol.dispose](); }`);
  assert.deepEqual(out.trim().split('\n'), ['ready', 'down 1', 'down 0']);
  assert.deepEqual([code, err], [143, '']);
});

it('leaves signals as they are once nothing is left', async () => {
  const { code, out } = await terminated(`atExit(() => console.log('down'), true)[Symbol.dispose]();`);
  assert.deepEqual([code, out.trim()], [null, 'ready']);
});
