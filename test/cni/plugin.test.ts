/** native/cni against agents that answer, hang, break off, or are not what they say. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testProcess } from '../fixtures/kernel.ts';
import { type CallEnvironment, netconf, PLUGIN, PREV_RESULT, podArgs, runPlugin } from './plugin.ts';

const folder = mkdtempSync(join(tmpdir(), 'shunt-cni-'));
after(() => rmSync(folder, { recursive: true }));
let serial = 0;
const socketPath = () => join(folder, `${serial++}.sock`);

/** An agent that hears one whole call per connection and does with it what the test wants. */
async function agent(
  answer: (socket: Socket, heard: { variables: string[]; stdin: string }) => void,
): Promise<AsyncDisposable & { path: string }> {
  const path = socketPath();
  const server = createServer((socket) => {
    let heard = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      heard = Buffer.concat([heard, chunk]);
      const line = heard.indexOf('\n');
      const [, , variables, stdin] = heard.subarray(0, Math.max(0, line)).toString().split(' ').map(Number);
      if (line < 0 || heard.length < line + 1 + Number(variables) + Number(stdin)) return;
      const body = heard.subarray(line + 1);
      const text = body.subarray(0, variables).toString();
      answer(socket, {
        variables: text.split('\0').slice(0, -1),
        stdin: body.subarray(variables).toString(),
      });
    });
  });
  await listening(server, path);
  return {
    path,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve) => server.listen(path, resolve));
}

const says = (text: string) => agent((socket) => socket.end(text));
const GOOD = 'SHUNT-CNI 1 0 0\n';
const errorOf = (stdout: string): { code: number; msg: string; details: string; cniVersion: string } =>
  JSON.parse(stdout);
const meshed: CallEnvironment = { args: podArgs('shop', 'cart-1', 'u-1') };

test('the plugin is static, without an interpreter, and under 100 KB', async () => {
  assert.ok(statSync(PLUGIN).size < 100_000);
  assert.equal(readFileSync(PLUGIN).includes('ld-linux'), false);
});

test('ADD hands variables and stdin over, and gives prevResult back byte for byte', async () => {
  let heard: { variables: string[]; stdin: string } | undefined;
  await using here = await agent((socket, call) => {
    heard = call;
    socket.end(GOOD);
  });
  const config = netconf({ socket: here.path });
  const run = await runPlugin('ADD', meshed, config);
  assert.deepEqual(run, { code: 0, stdout: `${PREV_RESULT}\n`, stderr: '' });
  assert.equal(heard?.stdin, config);
  assert.deepEqual(heard?.variables.sort(), [
    `CNI_ARGS=${meshed.args}`,
    'CNI_COMMAND=ADD',
    'CNI_CONTAINERID=c1',
    'CNI_IFNAME=eth0',
    'CNI_NETNS=/run/netns/x',
  ]);
});

test('other verbs print nothing when the agent agrees', async () => {
  await using here = await says(GOOD);
  for (const verb of ['DEL', 'CHECK', 'GC', 'STATUS']) {
    const run = await runPlugin(verb, meshed, netconf({ socket: here.path }));
    assert.deepEqual(run, { code: 0, stdout: '', stderr: '' }, verb);
  }
});

test("the agent's error is printed as it stands, with exit code 1; DEL says it on stderr and ends well", async () => {
  const error = '{"cniVersion":"1.0.0","code":100,"msg":"no"}\n';
  await using here = await says(`SHUNT-CNI 1 100 ${error.length}\n${error}`);
  const config = netconf({ socket: here.path });
  assert.deepEqual(await runPlugin('ADD', meshed, config), { code: 1, stdout: error, stderr: '' });
  assert.deepEqual(await runPlugin('DEL', meshed, config), { code: 0, stdout: '', stderr: error });
});

test('VERSION needs no agent and no configuration', async () => {
  const supported = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
  for (const [stdin, cniVersion] of [
    ['{"cniVersion":"0.4.0"}', '0.4.0'],
    ['', '1.1.0'],
    [`{"cniVersion":"${'9'.repeat(5000)}"}`, '1.1.0'],
  ] as const) {
    const run = await runPlugin('VERSION', {}, stdin);
    assert.deepEqual(JSON.parse(run.stdout), { cniVersion, supportedVersions: supported });
    assert.equal(run.code, 0);
  }
});

test('bad input is refused with the code of the specification, and DEL ends well with each', async () => {
  const cases: [what: string, config: string, code: number][] = [
    ['1 MiB of stdin', netconf({ pad: 'x'.repeat(1024 * 1024) }), 6],
    ['just more than 64 KiB', netconf({}).padEnd(64 * 1024 + 1), 6],
    ['no JSON', 'hello', 6],
    ['nothing', '', 6],
    ['an array', '[1]', 6],
    ['two objects', '{}{}', 6],
    ['cut off', netconf({}).slice(0, -1), 6],
    ['nested too deeply', netconf({}, `${'['.repeat(500)}${']'.repeat(500)}`), 6],
    ['a control character in a string', '{"cniVersion":"1.0.0\u0001"}', 6],
    ['no version', '{"name":"net"}', 1],
    ['a version to come', netconf({ cniVersion: '2.0.0' }), 1],
    ['a version before chains', netconf({ cniVersion: '0.2.0' }), 1],
    ['a version that is a number', netconf({ cniVersion: 1 }), 1],
    ['no prevResult', netconf({}, null), 7],
    ['prevResult null', netconf({}, 'null'), 7],
    ['a relative socket', netconf({ socket: 'cni.sock' }), 7],
    ['a socket path that is too long', netconf({ socket: `/${'s'.repeat(120)}` }), 7],
    ['a deadline of words', netconf({ deadlineMs: 'soon' }), 7],
  ];
  for (const [what, config, code] of cases) {
    const add = await runPlugin('ADD', meshed, config);
    assert.equal(add.code, 1, what);
    assert.equal(errorOf(add.stdout).code, code, `${what}: ${add.stdout}`);
    assert.match(errorOf(add.stdout).msg, / \[SHUNT_E_CNI_CONFIG\]$/);
    assert.ok(errorOf(add.stdout).details.length > 0);
    const del = await runPlugin('DEL', meshed, config);
    assert.equal(del.code, 0, what);
    assert.equal(del.stdout, '', what);
  }
  assert.equal(errorOf((await runPlugin('PLAY', meshed, netconf({}))).stdout).code, 4);
  const long = { args: `K8S_POD_NAME=${'x'.repeat(40_000)}` };
  assert.equal(errorOf((await runPlugin('ADD', long, netconf({}))).stdout).code, 4);
});

test('without an agent a pod is told to try again, and those that are known not to be meshed pass', async () => {
  const left = join(folder, 'left');
  mkdirSync(left, { recursive: true });
  writeFileSync(join(left, 'known-uid'), '');
  writeFileSync(join(folder, 'secret'), '');
  const config = netconf({
    socket: join(folder, 'nobody.sock'),
    left,
    pass: { namespaces: ['kube-system'], pods: ['other/x', 'shunt/shunt-agent-'] },
  });
  const outcomes: [args: string, passes: boolean][] = [
    [podArgs('shop', 'cart-1', 'u-1'), false],
    [podArgs('kube-system', 'coredns-1', 'u-2'), true],
    [podArgs('kube-system-2', 'coredns-1', 'u-2'), false],
    [podArgs('shunt', 'shunt-agent-xyz', 'u-3'), true],
    [podArgs('shunt', 'shunt-agent', 'u-3'), false],
    [podArgs('shop', 'shunt-agent-xyz', 'u-3'), false],
    [podArgs('shop', 'left-1', 'known-uid'), true],
    [podArgs('shop', 'left-1', '../secret'), false],
    [podArgs('shop', 'left-1', ''), false],
    ['K8S_POD_NAME=coredns;K8S_POD_NAMESPACE=kube-system', true],
    ['K8S_POD_NAME=coredns;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAMESPACE=shop', false],
    ['XK8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=coredns', false],
    ['', false],
    [';;;=;K8S_POD_NAMESPACE;=kube-system', false],
  ];
  for (const [args, passes] of outcomes) {
    const run = await runPlugin('ADD', { args }, config);
    if (passes) assert.deepEqual(run, { code: 0, stdout: `${PREV_RESULT}\n`, stderr: '' }, args);
    else {
      assert.equal(errorOf(run.stdout).code, 11, args);
      assert.match(errorOf(run.stdout).msg, /no agent answers on .* \[SHUNT_E_AGENT_DOWN\]$/);
    }
  }
  const run = async (verb: string) => await runPlugin(verb, meshed, config);
  assert.equal((await run('DEL')).code, 0);
  assert.match((await run('DEL')).stderr, /no agent answers on/);
  assert.equal(errorOf((await run('CHECK')).stdout).code, 11);
  assert.equal(errorOf((await run('GC')).stdout).code, 11);
  assert.equal(errorOf((await run('STATUS')).stdout).code, 50);
});

test('an agent that hangs, breaks off or talks nonsense counts as away', async () => {
  const answers: [what: string, text: string | null][] = [
    ['it hangs', null],
    ['it leaves at once', ''],
    ['it leaves in the middle', 'SHUNT-CNI 1 0 5\nabc'],
    ['another protocol', 'HTTP/1.1 200 OK\r\n\r\n'],
    ['another version', 'SHUNT-CNI 2 0 0\n'],
    ['no number', 'SHUNT-CNI 1 x 0\n'],
    ['too much', `SHUNT-CNI 1 0 100000\n${'x'.repeat(100_000)}`],
  ];
  for (const [what, text] of answers) {
    await using here = await agent((socket) => {
      if (text !== null) socket.end(text);
    });
    const run = await runPlugin('ADD', meshed, netconf({ socket: here.path, deadlineMs: 200 }));
    assert.equal(errorOf(run.stdout).code, 11, what);
    assert.equal(run.code, 1, what);
  }
});

test('a socket that somebody else listens on gets no call', async () => {
  const path = join(folder, 'open', 'cni.sock');
  mkdirSync(join(folder, 'open'));
  chmodSync(folder, 0o755);
  chmodSync(join(folder, 'open'), 0o777);
  const script = `require('node:net').createServer((s) => s.on('data', (d) => { console.log(String(d)); s.end('${GOOD.trim()}\\n'); })).listen('${path}', () => console.log('ready'))`;
  await using squatter = await testProcess(script, { uid: 65534 });
  let heard = '';
  squatter.child.stdout?.on('data', (chunk) => {
    heard += chunk;
  });
  const run = await runPlugin('ADD', meshed, netconf({ socket: path }));
  assert.equal(errorOf(run.stdout).code, 11);
  assert.match(errorOf(run.stdout).msg, /somebody who is not root listens/);
  assert.equal(heard, '');
});
