import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import * as v from 'valibot';
import { RepeatLimiter } from './log.ts';

const Line = v.looseObject({ level: v.string(), msg: v.string() });

/** Runs a program that has `log`, and gives the lines it logs. */
async function* logged(
  program: string,
  level?: string,
): AsyncGenerator<v.InferOutput<typeof Line>, void, void> {
  const script = `const { createLog } = await import(${JSON.stringify(new URL('./log.ts', import.meta.url).href)});
    const log = createLog(); ${program}`;
  const env: NodeJS.ProcessEnv = { ...process.env, LOG_LEVEL: level };
  if (level === undefined) delete env.LOG_LEVEL;
  const args = ['--conditions=source', '--input-type=module', '-e', script];
  const child: ChildProcess = spawn(process.execPath, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  try {
    assert.ok(child.stdout);
    for await (const text of createInterface(child.stdout)) {
      const line = v.parse(Line, JSON.parse(text));
      if (line.msg === 'signal me') child.kill('SIGUSR1');
      else yield line;
    }
    assert.deepEqual(await exited, [0, null]);
  } finally {
    child.kill('SIGKILL');
  }
}

test('a line is one JSON object with the level by name, the time and the fields', async () => {
  const [line, ...others] = await Array.fromAsync(
    logged(
      "log.child({ component: 'api' }).info({ cookie: 2n ** 63n, deep: [{ inode: 1n }], n: 1 }, 'hello')",
    ),
  );
  assert.deepEqual(others, []);
  assert.ok(line);
  assert.equal(line.level, 'info');
  assert.equal(line.component, 'api');
  assert.equal(line.cookie, '9223372036854775808');
  assert.deepEqual(line.deep, [{ inode: '1' }]);
  assert.equal(line.n, 1);
  assert.match(String(line.time), /^\d{4}-\d\d-\d\dT/);
});

test('an error is logged with its code, its fix and its cause', async () => {
  const errors = JSON.stringify(new URL('../errors.ts', import.meta.url).href);
  const [line] = await Array.fromAsync(
    logged(`const { ShuntError } = await import(${errors});
      log.error({ err: new ShuntError('SHUNT_E_POLICY', 'bad', { target: 'pod a/b', cause: new Error('why') }) }, 'x')`),
  );
  const { err } = v.parse(v.object({ err: v.looseObject({ message: v.string(), stack: v.string() }) }), line);
  assert.equal(err.code, 'SHUNT_E_POLICY');
  assert.equal(err.target, 'pod a/b');
  assert.ok(typeof err.fix === 'string' && err.fix.length > 0);
  assert.match(err.stack, /why/);
});

test('LOG_LEVEL sets the level, and a word that is none is told', async () => {
  const program = "log.debug('d'); log.info('i'); log.warn('w')";
  const levels = async (level?: string) =>
    (await Array.fromAsync(logged(program, level))).map((line) => line.level);
  assert.deepEqual(await levels(), ['info', 'warn']);
  assert.deepEqual(await levels('debug'), ['debug', 'info', 'warn']);
  assert.deepEqual(await levels('error'), []);
  assert.deepEqual(await levels('loud'), ['warn', 'info', 'warn']);
});

test('SIGUSR1 switches debug on and off again, in children made before it too', async () => {
  const lines = await Array.fromAsync(
    logged(`
      const child = log.child({ component: 'c' });
      const grandchild = child.child({ part: 'p' });
      const stay = setInterval(() => {}, 1000);
      let round = 0;
      const say = () => { for (const l of [log, child, grandchild]) { l.debug('debug ' + round); } log.warn('round ' + round++); };
      say();
      process.on('SIGUSR1', () => { say(); if (round < 3) log.warn('signal me'); else clearInterval(stay); });
      log.warn('signal me');
    `),
  );
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['round 0', 'debug 1', 'debug 1', 'debug 1', 'round 1', 'round 2'],
  );
});

test('equal lines pass once an interval, with the count of those held back', () => {
  let now = 0;
  const limiter = new RepeatLimiter(1000, () => now);
  assert.equal(limiter.admit('a'), 0);
  assert.equal(limiter.admit('a'), null);
  assert.equal(limiter.admit('b'), 0, 'another line is not held back');
  now = 999;
  assert.equal(limiter.admit('a'), null);
  now = 1000;
  assert.equal(limiter.admit('a'), 2);
  assert.equal(limiter.admit('a'), null);
  now = 5000;
  assert.equal(limiter.admit('a'), 1);
});

test('lines that do not come again are forgotten', () => {
  let now = 0;
  const limiter = new RepeatLimiter(1000, () => now);
  for (let i = 0; i < 500; i++) {
    limiter.admit(`line ${i}`);
    limiter.admit(`line ${i}`);
  }
  assert.equal(limiter.size, 500);
  now = 1_000_000;
  limiter.admit('another');
  assert.equal(limiter.size, 1);
});
