import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { testNetns, testProcess } from '../../test/fixtures/kernel.ts';
import type { ErrorCode } from '../errors.ts';
import { inNetns, netnsInode, resolveNetns } from './netns.ts';

const ownNetns = () => readlinkSync('/proc/thread-self/ns/net');
const code = (expected: ErrorCode) => (error: unknown) => {
  assert.ok(error instanceof Error && 'code' in error);
  assert.equal(error.code, expected);
  return true;
};

test('a namespace is found with its inode, cookie and addresses in the order of its interfaces', () => {
  using netns = testNetns('a', ['10.9.0.7/24', '10.8.0.1/24', '2001:db8::7/64', '2001:db8:0:1::7/64']);
  const ref = resolveNetns(netns.path);
  assert.equal(ref.inode, statSync(netns.path, { bigint: true }).ino);
  assert.ok(ref.cookie > 0n);
  const addresses = ref.addresses.filter((address) => !address.startsWith('fe80:'));
  assert.deepEqual(
    addresses.filter((address) => !address.includes(':')),
    ['127.0.0.1', '10.9.0.7', '10.8.0.1'],
  );
  assert.deepEqual(addresses.filter((address) => address.includes(':')).sort(), [
    '2001:db8:0:1::7',
    '2001:db8::7',
    '::1',
  ]);
  assert.equal(
    addresses.indexOf('::1') < addresses.indexOf('2001:db8::7'),
    true,
    'lo is the first interface',
  );
});

test('more addresses than one netlink message holds are all found', () => {
  using netns = testNetns('many');
  const wanted = Array.from({ length: 600 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
  const batch = wanted.map((address) => `address add ${address}/32 dev eth0`).join('\n');
  execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: batch });
  const found = new Set(resolveNetns(netns.path).addresses);
  assert.deepEqual(
    wanted.filter((address) => !found.has(address)),
    [],
  );
});

test('the own address of a point-to-point link is listed, not the other end', () => {
  using netns = testNetns('ptp');
  netns.ip('address', 'add', '10.5.0.1', 'peer', '10.5.0.2/32', 'dev', 'eth0');
  const { addresses } = resolveNetns(netns.path);
  assert.ok(addresses.includes('10.5.0.1'));
  assert.ok(!addresses.includes('10.5.0.2'));
});

test('two namespaces have two cookies, and one keeps its own', () => {
  using one = testNetns('b');
  using two = testNetns('c');
  assert.notEqual(resolveNetns(one.path).cookie, resolveNetns(two.path).cookie);
  assert.equal(resolveNetns(one.path).cookie, resolveNetns(one.path).cookie);
});

test('a namespace is the same by name and by a process in it', async () => {
  using netns = testNetns('d', ['10.9.0.7/24']);
  await using inside = await testProcess('console.log("ready"); setInterval(() => {}, 1000)', { netns });
  const byName = resolveNetns(netns.path);
  const byProcess = resolveNetns(`/proc/${inside.pid}/ns/net`);
  assert.deepEqual({ ...byProcess, path: byName.path }, byName);
  assert.equal(netnsInode(`/proc/${inside.pid}/ns/net`), byName.inode);
});

test('work runs inside, and the thread is at home after it', () => {
  using netns = testNetns('e');
  const home = ownNetns();
  const inside = inNetns(netns.path, ownNetns);
  assert.equal(inside, `net:[${netnsInode(netns.path)}]`);
  assert.equal(ownNetns(), home);
});

test('the thread is at home after work that throws', () => {
  using netns = testNetns('f');
  const home = ownNetns();
  assert.throws(
    () =>
      inNetns(netns.path, () => {
        throw new RangeError('inside');
      }),
    RangeError,
  );
  assert.equal(ownNetns(), home);
});

test('a thousand visits leave no descriptor open and read the right tables', () => {
  using one = testNetns('g', ['10.1.0.1/24']);
  using two = testNetns('h', ['10.2.0.1/24']);
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const table = () => readFileSync('/proc/thread-self/net/fib_trie', 'utf8');
  for (let round = 0; round < 500; round++) {
    assert.ok(inNetns(one.path, table).includes('10.1.0.1'));
    assert.ok(inNetns(two.path, table).includes('10.2.0.1'));
    resolveNetns(one.path);
  }
  // Fewer is fine: pipes of an earlier test may have closed meanwhile.
  const after = descriptors();
  assert.ok(after <= before, `${after} descriptors, ${before} before`);
});

test('a path that is not there is refused', () => {
  assert.throws(() => resolveNetns('/run/netns/shunt-test-none'), code('SHUNT_E_NETNS_MISSING'));
  assert.throws(() => resolveNetns('/proc/4194304/ns/net'), code('SHUNT_E_NETNS_MISSING'));
  assert.throws(() => resolveNetns('relative/path'), code('SHUNT_E_NETNS_MISSING'));
});

test('what is no network namespace is refused: a file, a directory, a FIFO, another kind of namespace', () => {
  const directory = mkdtempSync(join(tmpdir(), 'shunt-test-'));
  try {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [file, directory, fifo, '/dev/null', '/proc/self/ns/mnt', '/proc/self/ns/user']) {
      assert.throws(() => resolveNetns(path), code('SHUNT_E_NETNS_NOT_NETNS'), path);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('our own network namespace is refused', () => {
  assert.throws(() => resolveNetns('/proc/self/ns/net'), code('SHUNT_E_NETNS_HOST'));
  assert.throws(() => resolveNetns(`/proc/${process.ppid}/ns/net`), code('SHUNT_E_NETNS_HOST'));
});

/** Runs a program in a process of its own, with this module's exports and the namespace's path. */
function program(path: string, text: string) {
  const module = JSON.stringify(new URL('./netns.ts', import.meta.url).href);
  const script = `const { inNetns, resolveNetns } = await import(${module}); const path = ${JSON.stringify(path)}; ${text}`;
  return spawnSync(process.execPath, ['--conditions=source', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
}

test('a process that cannot come back from a namespace ends, since it would act on the wrong network', () => {
  using netns = testNetns('lost');
  // Without capabilities the way back is closed.
  const { signal, stderr, stdout } = program(
    netns.path,
    "inNetns(path, () => { process.setuid(65534) }); console.log('went on')",
  );
  assert.equal(signal, 'SIGABRT');
  assert.match(stderr, /cannot leave network namespace .*EPERM/);
  assert.equal(stdout, '');
});

test('without the capabilities, a namespace is refused for want of rights', () => {
  using netns = testNetns('rights');
  const { stdout } = program(
    netns.path,
    'process.setuid(65534); try { resolveNetns(path) } catch (error) { console.log(error.code) }',
  );
  assert.equal(stdout.trim(), 'SHUNT_E_NOT_ROOT');
});
