import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { type AddressInfo, Server } from 'node:net';
import { test } from 'node:test';
import { testCgroup, testNetns, testProcess } from '../../test/fixtures/kernel.ts';
import { resolveCgroup } from './cgroup.ts';
import { dupListeners } from './listeners.ts';
import { resolveNetns } from './netns.ts';
import { listenersByDiag, listenersByProc, listeningSockets } from './socket_table.ts';

/** Listens on each address, then prints one line; answers every client with `hello`. */
const listenOn = (
  ...addresses: { host: string; port: number; reusePort?: boolean; ipv6Only?: boolean }[]
) => `
  const net = require('node:net');
  const wanted = ${JSON.stringify(addresses)};
  let left = wanted.length;
  for (const options of wanted) {
    net.createServer((socket) => socket.end('hello')).listen(options, () => { if (--left === 0) console.log('ready'); });
  }`;

/** What a client inside the namespace is answered by 127.0.0.1:port. */
function answerOf(netnsPath: string, port: number): string {
  const script = `require('node:net').connect(${port}, '127.0.0.1').pipe(process.stdout)`;
  return execFileSync('nsenter', [`--net=${netnsPath}`, process.execPath, '-e', script]).toString();
}

test('listening sockets of a namespace are told by family, address, port and owner', async () => {
  using netns = testNetns('a', ['10.9.0.7/24']);
  await using _sidecar = await testProcess(
    listenOn(
      { host: '127.0.0.1', port: 15001 },
      { host: '10.9.0.7', port: 15006 },
      { host: '::', port: 15006, ipv6Only: true },
    ),
    { netns, uid: 1337 },
  );
  const rows = listeningSockets(netns.path).map(({ inode: _, ...row }) => row);
  assert.deepEqual(
    rows.sort((a, b) => a.port - b.port || a.family - b.family),
    [
      { family: 4, address: '127.0.0.1', port: 15001, uid: 1337, multipath: false },
      { family: 4, address: '10.9.0.7', port: 15006, uid: 1337, multipath: false },
      { family: 6, address: '::', port: 15006, uid: 1337, multipath: false },
    ],
  );
  assert.deepEqual(listenersByProc(netns.path), listeningSockets(netns.path));
  assert.deepEqual(
    listeningSockets(netns.path, 15006).map((row) => row.family),
    [4, 6],
  );
});

test('listeners are found among established connections and more rows than one read holds', async () => {
  using netns = testNetns('b');
  const ports = Array.from({ length: 300 }, (_, i) => ({ host: '127.0.0.1', port: 20_000 + i }));
  await using _many = await testProcess(listenOn(...ports), { netns });
  await using _talk = await testProcess(
    `const net = require('node:net');
     const server = net.createServer(() => {}).listen(30000, '127.0.0.1', () => {
       let left = 200;
       for (let i = 0; i < 200; i++) net.connect(30000, '127.0.0.1', () => { if (--left === 0) console.log('ready'); });
     });`,
    { netns },
  );
  const wanted = [...ports.map(({ port }) => port), 30_000].sort();
  const byDiag = listenersByDiag(netns.path);
  assert.deepEqual(byDiag.map((row) => row.port).sort(), wanted);
  const byInode = (a: { inode: bigint }, b: { inode: bigint }) => Number(a.inode - b.inode);
  assert.deepEqual(listenersByProc(netns.path).sort(byInode), byDiag.sort(byInode), 'both ways see the same');
  assert.deepEqual(listenersByProc(netns.path, 30_000), listenersByDiag(netns.path, 30_000));
});

test("the sidecar's listeners are duplicated: the copy is the same socket and lives on its own", async () => {
  using netns = testNetns('c', ['10.9.0.7/24']);
  using cgroup = testCgroup('c');
  await using sidecar = await testProcess(listenOn({ host: '::', port: 15006 }), {
    netns,
    cgroup,
    uid: 1337,
  });
  const ref = resolveNetns(netns.path);
  const [held, ...others] = dupListeners({
    netns: ref,
    cgroup: resolveCgroup(cgroup.path),
    port: 15006,
    uids: [],
  });
  assert.ok(held);
  {
    using listener = held;
    assert.deepEqual(others, []);
    assert.equal(listener.pid, sidecar.pid);
    assert.equal(listener.family, 6);
    assert.equal(listener.address, '::');
    assert.equal(fstatSync(listener.fd, { bigint: true }).ino, listener.inode);
    assert.equal(listeningSockets(netns.path, 15006)[0]?.inode, listener.inode);
  }
  assert.throws(() => fstatSync(held.fd), { code: 'EBADF' });
  assert.equal(answerOf(netns.path, 15006), 'hello', 'closing the copy does not stop the sidecar');
});

test('a duplicate keeps the socket listening after its process has ended', async () => {
  using netns = testNetns('d');
  const ref = resolveNetns(netns.path);
  const sidecar = await testProcess(listenOn({ host: '127.0.0.1', port: 15001 }), { netns, uid: 1337 });
  const [held] = dupListeners({ netns: ref, cgroup: null, port: 15001, uids: [1337] });
  assert.ok(held);
  await sidecar[Symbol.asyncDispose]();
  assert.equal(listeningSockets(netns.path, 15001).length, 1);
  const server = new Server();
  const closed = new Promise<void>((resolve) => server.on('close', resolve));
  const listening = new Promise<void>((resolve) => server.on('listening', resolve));
  server.listen({ fd: held.fd });
  await listening;
  assert.deepEqual({ ...(server.address() as AddressInfo) }.port, 15001);
  server.close();
  await closed;
  assert.deepEqual(listeningSockets(netns.path, 15001), []);
});

test('every socket of a reuseport group is duplicated once', async () => {
  using netns = testNetns('e');
  using cgroup = testCgroup('e');
  const worker = { host: '0.0.0.0', port: 15006, reusePort: true };
  await using _one = await testProcess(listenOn(worker, worker), { netns, cgroup });
  await using _two = await testProcess(listenOn(worker), { netns, cgroup });
  const held = dupListeners({
    netns: resolveNetns(netns.path),
    cgroup: resolveCgroup(cgroup.path),
    port: 15006,
    uids: [],
  });
  assert.equal(new Set(held.map((listener) => listener.inode)).size, 3);
  assert.equal(held.length, 3);
  for (const listener of held) listener[Symbol.dispose]();
});

test("listeners of another container, another owner and another port are not the sidecar's", async () => {
  using netns = testNetns('f');
  using pod = testCgroup('f');
  using sidecarCgroup = pod.child('sidecar');
  using appCgroup = pod.child('app');
  await using _sidecar = await testProcess(listenOn({ host: '127.0.0.1', port: 15001 }), {
    netns,
    cgroup: sidecarCgroup,
    uid: 1337,
  });
  await using _app = await testProcess(listenOn({ host: '127.0.0.1', port: 15006 }), {
    netns,
    cgroup: appCgroup,
    uid: 1337,
  });
  const ref = resolveNetns(netns.path);
  const cgroup = resolveCgroup(sidecarCgroup.path);
  assert.deepEqual(dupListeners({ netns: ref, cgroup, port: 15006, uids: [1337] }), []);
  assert.deepEqual(dupListeners({ netns: ref, cgroup: null, port: 15006, uids: [2102] }), []);
  const held = dupListeners({ netns: ref, cgroup: null, port: 15006, uids: [2102, 1337] });
  assert.equal(held.length, 1);
  for (const listener of held) listener[Symbol.dispose]();
});

test('the same port in another namespace is not looked at', async () => {
  using netns = testNetns('g');
  using other = testNetns('h');
  await using _listener = await testProcess(listenOn({ host: '127.0.0.1', port: 15001 }), {
    netns: other,
    uid: 1337,
  });
  assert.deepEqual(
    dupListeners({ netns: resolveNetns(netns.path), cgroup: null, port: 15001, uids: [1337] }),
    [],
  );
});

test('without the right to look into the sidecar, the error says which right is missing', async () => {
  using netns = testNetns('i');
  using cgroup = testCgroup('i');
  await using sidecar = await testProcess(listenOn({ host: '::', port: 15006 }), {
    netns,
    cgroup,
    uid: 1337,
  });
  const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  const script = `
    const { dupListeners } = await import(${url('./listeners.ts')});
    const { resolveNetns } = await import(${url('./netns.ts')});
    const { resolveCgroup } = await import(${url('./cgroup.ts')});
    const netns = resolveNetns(${JSON.stringify(netns.path)});
    const cgroup = resolveCgroup(${JSON.stringify(cgroup.path)});
    try { dupListeners({ netns, cgroup, port: 15006, uids: [] }); } catch (error) { console.log(JSON.stringify(error)); }`;
  const node = [process.execPath, '--conditions=source', '--input-type=module', '-e', script];
  const { stdout } = spawnSync('setpriv', ['--bounding-set=-sys_ptrace', ...node], { encoding: 'utf8' });
  const error: unknown = JSON.parse(stdout);
  assert.ok(
    typeof error === 'object' && error !== null && 'code' in error && 'fix' in error && 'target' in error,
  );
  assert.equal(error.code, 'SHUNT_E_LISTENER_TAKE');
  assert.equal(error.target, `process ${sidecar.pid}`);
  assert.match(String(error.fix), /CAP_SYS_PTRACE/);
});
