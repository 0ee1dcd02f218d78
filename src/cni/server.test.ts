import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { type ErrorCode, ShuntError } from '../errors.ts';
import type { SocketServer } from '../unix_socket.ts';
import { callText } from './protocol.ts';
import { type CniHandlers, serveCni } from './server.ts';

const isRoot = process.getuid?.() === 0;
const skip = !isRoot && 'only root is heard';
const root = mkdtempSync(join(tmpdir(), 'shunt-cni-server-'));
after(() => rmSync(root, { recursive: true }));
let serial = 0;

interface Served extends AsyncDisposable {
  path: string;
  calls: string[];
  events: string[];
  server: SocketServer;
}

async function serve(
  handlers: Partial<CniHandlers> = {},
  path = join(root, `${serial++}`, 'cni.sock'),
  callDeadlineMs = 5_000,
): Promise<Served> {
  const [calls, events]: [string[], string[]] = [[], []];
  const called = (command: string) => async () => void calls.push(command);
  const stop = new AbortController();
  const note = (fields: object) => void events.push('event' in fields ? String(fields.event) : '');
  const server = await serveCni({
    socket: path,
    signal: stop.signal,
    log: { info: note, warn: note },
    callDeadlineMs,
    handlers: {
      ...{ add: called('ADD'), del: called('DEL'), check: called('CHECK') },
      ...{ gc: called('GC'), status: called('STATUS'), ...handlers },
    },
  });
  return {
    ...{ path, calls, events, server },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await server.closed;
    },
  };
}

async function say(path: string, words: string | Buffer, end = false): Promise<string> {
  const socket = connect(path);
  // An end of ours that comes late is told of as well.
  socket.on('error', () => {});
  if (end) socket.end(words);
  else socket.write(words);
  return await text(socket).catch(() => '');
}

const STATUS = callText({ CNI_COMMAND: 'STATUS' }, '{"cniVersion":"1.1.0","name":"net"}');
const code = (answer: string) => Number(/^SHUNT-CNI 1 (\d+) /.exec(answer)?.[1] ?? Number.NaN);
const hasCode = (expected: ErrorCode) => (error: unknown) =>
  error instanceof ShuntError && error.code === expected;

test('whatever is not a call is answered with an error, and the next call is served', { skip }, async () => {
  await using served = await serve({}, undefined, 300);
  for (const words of [
    'GET / HTTP/1.1\r\n\r\n',
    Buffer.alloc(1024 * 1024, 'x'),
    'SHUNT-CNI 1 999999 999999\n',
    'SHUNT-CNI 1 20 20\nshort',
    'SHUNT-CNI 1',
    callText({ CNI_COMMAND: 'STATUS' }, 'no JSON'),
    callText({}, '{}'),
  ]) {
    assert.ok(code(await say(served.path, words)) > 0, String(words).slice(0, 50));
    await say(served.path, words, true);
  }
  assert.deepEqual(served.calls, []);
  // On a machine that is busy a call may come late, too.
  let answer = '';
  while (answer !== 'SHUNT-CNI 1 0 0\n') answer = await say(served.path, STATUS);
  assert.equal(served.calls.at(-1), 'STATUS');
});

test('a failed call becomes an error of CNI in the version of its configuration', { skip }, async () => {
  const add = async (): Promise<void> => {
    throw new ShuntError('SHUNT_E_CNI_POD_UNKNOWN', undefined, { target: 'shop/cart' });
  };
  const status = async (): Promise<void> => {
    throw new Error('a fault');
  };
  await using served = await serve({ add, status });
  const variables = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_IFNAME: 'e', CNI_NETNS: '/n' };
  const answer = await say(served.path, callText(variables, '{"cniVersion":"0.4.0","name":"net"}'));
  const [head = '', body = ''] = answer.split('\n');
  assert.equal(head, `SHUNT-CNI 1 11 ${body.length + 1}`);
  assert.deepEqual(JSON.parse(body), {
    cniVersion: '0.4.0',
    code: 11,
    msg: 'shunt: shop/cart: the agent does not know the pod yet [SHUNT_E_CNI_POD_UNKNOWN]',
    details: new ShuntError('SHUNT_E_CNI_POD_UNKNOWN').fix,
  });
  assert.match(await say(served.path, STATUS), /^SHUNT-CNI 1 100 .*\n.*a fault \[SHUNT_E_INTERNAL\]/);
});

test('a handler hears when its plugin is gone', { skip }, async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  await using served = await serve({
    add: async (_, signal) => {
      begun.resolve();
      signal.addEventListener('abort', () => resolve());
      await promise;
    },
  });
  const variables = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_IFNAME: 'e', CNI_NETNS: '/n' };
  const socket = connect(served.path);
  socket.write(callText(variables, '{"cniVersion":"1.0.0","name":"net"}'));
  await begun.promise;
  socket.destroy();
  await promise;
});

test('only root is heard, also where the socket were open to others', { skip }, async () => {
  await using served = await serve();
  assert.equal(statSync(served.path).mode & 0o777, 0o600);
  chmodSync(root, 0o755);
  chmodSync(served.path, 0o666);
  const script = `const s = require('node:net').connect(process.argv[1]); s.on('error', () => {}); s.on('data', (d) => process.stdout.write(d)); s.write(Buffer.from(process.argv[2], 'base64'));`;
  const argv = ['--reuid=65534', '--regid=65534', '--clear-groups', '--', process.execPath, '-e', script];
  const { stdout } = await promisify(execFile)('setpriv', [...argv, served.path, btoa(STATUS)], { cwd: '/' });
  assert.equal(stdout, '');
  assert.deepEqual(served.calls, []);
  assert.ok(served.events.includes('cni-stranger'));
  assert.equal(code(await say(served.path, STATUS)), 0);
});

test('a socket that an agent left is taken over; one that is served, and a file, are not', {
  skip,
}, async () => {
  const path = join(root, `${serial++}`, 'cni.sock');
  mkdirSync(join(path, '..'));
  const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script, path]);
  assert.ok(statSync(path).isSocket());
  await using served = await serve({}, path);
  assert.equal(code(await say(served.path, STATUS)), 0);
  await assert.rejects(serve({}, path), hasCode('SHUNT_E_AGENT_RUNNING'));
  const file = join(root, 'file.sock');
  writeFileSync(file, '');
  await assert.rejects(serve({}, file), hasCode('SHUNT_E_SOCKET'));
  const squatter = createServer().listen(join(root, 'squatted.sock'));
  await new Promise((resolve) => squatter.once('listening', resolve));
  await assert.rejects(serve({}, join(root, 'squatted.sock')), hasCode('SHUNT_E_AGENT_RUNNING'));
  squatter.close();
});
