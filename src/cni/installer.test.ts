import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorCode, ShuntError } from '../errors.ts';
import type { PluginEntry } from './conflist.ts';
import { exchange, replaceFile } from './file_exchange.ts';
import { CniInstaller } from './installer.ts';

const root = mkdtempSync(join(tmpdir(), 'shunt-installer-'));
after(() => rmSync(root, { recursive: true }));
let serial = 0;

const ENTRY: PluginEntry = {
  type: 'shunt-cni',
  socket: '/run/shunt/cni.sock',
  left: '/run/shunt/left',
  pass: { namespaces: ['kube-system'], pods: [] },
};
const LIST = { cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }, { type: 'portmap' }] };

interface Node {
  netDir: string;
  binDir: string;
  installer: CniInstaller;
  write(name: string, content: unknown): void;
  read(name: string): { name: string; plugins: { type: string }[] };
  types(name: string): string[];
}

function node(files: Record<string, unknown> = {}): Node {
  const folder = join(root, String(serial++));
  const [netDir, binDir, program] = [join(folder, 'net.d'), join(folder, 'bin'), join(folder, 'program')];
  mkdirSync(netDir, { recursive: true });
  writeFileSync(program, 'the plugin');
  const write = (name: string, content: unknown) =>
    writeFileSync(join(netDir, name), typeof content === 'string' ? content : JSON.stringify(content));
  for (const [name, content] of Object.entries(files)) write(name, content);
  const read = (name: string) => JSON.parse(readFileSync(join(netDir, name), 'utf8'));
  const types = (name: string) => read(name).plugins.map(({ type }: { type: string }) => type);
  return { netDir, binDir, installer: new CniInstaller({ netDir, binDir, program }), write, read, types };
}

const code = (expected: ErrorCode, words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ShuntError, String(error));
  assert.equal(error.code, expected);
  assert.match(error.message, words);
  return true;
};

test('our entry is put behind the others of the first configuration by name, once, and taken out again', () => {
  const { installer, types, read, netDir, binDir } = node({ '10-a.conflist': LIST, '20-b.conflist': LIST });
  chmodSync(join(netDir, '10-a.conflist'), 0o600);
  assert.equal(installer.install(ENTRY).length, 2);
  assert.deepEqual(types('10-a.conflist'), ['bridge', 'portmap', 'shunt-cni']);
  assert.deepEqual(read('10-a.conflist').plugins[2], ENTRY);
  assert.deepEqual(types('20-b.conflist'), ['bridge', 'portmap']);
  assert.equal(statSync(join(netDir, '10-a.conflist')).mode & 0o777, 0o600);
  assert.equal(statSync(join(binDir, 'shunt-cni')).mode & 0o777, 0o755);
  assert.deepEqual(installer.install(ENTRY), [], 'nothing to do the second time');
  assert.deepEqual(installer.status().chained && installer.status().program.state, 'current');
  assert.equal(installer.uninstall().length, 2);
  assert.deepEqual(read('10-a.conflist'), LIST);
  assert.deepEqual(installer.uninstall(), []);
  assert.deepEqual(readdirSync(netDir).sort(), ['10-a.conflist', '20-b.conflist'], 'nothing else is left');
});

test('an entry with other settings is renewed where it stands; two become one; before the primary it moves back', () => {
  const ours = { ...ENTRY, socket: '/other' };
  const { installer, types, read, write } = node({
    '10-a.conflist': { ...LIST, plugins: [{ type: 'bridge' }, ours, { type: 'consul-cni' }] },
  });
  installer.install(ENTRY);
  assert.deepEqual(types('10-a.conflist'), ['bridge', 'shunt-cni', 'consul-cni']);
  assert.deepEqual(read('10-a.conflist').plugins[1], ENTRY);
  write('10-a.conflist', { ...LIST, plugins: [{ type: 'bridge' }, ENTRY, ENTRY] });
  installer.install(ENTRY);
  assert.deepEqual(types('10-a.conflist'), ['bridge', 'shunt-cni']);
  write('10-a.conflist', { ...LIST, plugins: [ENTRY, { type: 'bridge' }] });
  installer.install(ENTRY);
  assert.deepEqual(types('10-a.conflist'), ['bridge', 'shunt-cni']);
});

test('a single configuration becomes a list in its place, and comes back as it was', () => {
  const single = { cniVersion: '0.4.0', name: 'one', type: 'ptp', mtu: 1400 };
  const { installer, read, netDir, write } = node({ '10-a.conf': single, '10-a.conflist': LIST });
  installer.install(ENTRY);
  assert.deepEqual(read('10-a.conf.conflist'), {
    cniVersion: '0.4.0',
    name: 'one',
    plugins: [{ type: 'ptp', mtu: 1400 }, ENTRY],
  });
  assert.deepEqual(readdirSync(netDir).sort(), [
    '10-a.conf.conflist',
    '10-a.conf.shunt-saved',
    '10-a.conflist',
  ]);
  // The primary plugin writes it anew: it is the first again.
  write('10-a.conf', { ...single, mtu: 1500 });
  installer.install(ENTRY);
  assert.deepEqual(read('10-a.conf.conflist').plugins[0], { type: 'ptp', mtu: 1500 });
  installer.uninstall();
  assert.deepEqual(readdirSync(netDir).sort(), ['10-a.conf', '10-a.conflist']);
  assert.deepEqual(read('10-a.conf'), { ...single, mtu: 1500 });
});

test('a file that comes before the one in force takes the entry over', () => {
  const { installer, types, write } = node({ '10-a.conflist': LIST });
  installer.install(ENTRY);
  write('05-z.conflist', { ...LIST, name: 'new' });
  installer.install(ENTRY);
  assert.deepEqual(types('05-z.conflist').at(-1), 'shunt-cni');
  assert.deepEqual(types('10-a.conflist'), ['bridge', 'portmap']);
});

test('an invalid file is passed over and named, and never written to', () => {
  const broken = {
    '00-empty.conflist': '',
    '01-cut.conflist': '{"name":"x","plugins":[',
    '02-none.conf': '{}',
  };
  const { installer, types, netDir } = node({ ...broken, '10-a.conflist': LIST });
  installer.install(ENTRY);
  assert.deepEqual(types('10-a.conflist').at(-1), 'shunt-cni');
  const { invalid, file } = installer.status();
  assert.deepEqual(
    invalid.map(({ file }) => file),
    ['00-empty.conflist', '01-cut.conflist', '02-none.conf'],
  );
  assert.equal(file, join(netDir, '10-a.conflist'));
  for (const [name, text] of Object.entries(broken))
    assert.equal(readFileSync(join(netDir, name), 'utf8'), text);
});

test('without a valid configuration, or a directory, the error says what to do', () => {
  const { installer, write, netDir } = node();
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_NO_CONF', /net\.d/));
  write('README.txt', 'hello');
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_NO_CONF', /net\.d/));
  write('10-a.conflist', '{"name":');
  assert.throws(
    () => installer.install(ENTRY),
    code('SHUNT_E_CNI_CONF_INVALID', /10-a\.conflist: it is not JSON/),
  );
  write('10-a.conflist', '{"name":"x","plugins":{}}');
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_CONF_INVALID', /10-a\.conflist: plugins/));
  write('10-a.conflist', { name: 'x', plugins: [] });
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_CONF_INVALID', /plugins/));
  rmSync(netDir, { recursive: true });
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_NET_DIR', /ENOENT/));
  assert.throws(() => installer.uninstall(), code('SHUNT_E_CNI_NET_DIR', /ENOENT/));
  assert.throws(() => installer.status(), code('SHUNT_E_CNI_NET_DIR', /ENOENT/));
  writeFileSync(netDir, '');
  assert.throws(() => installer.install(ENTRY), code('SHUNT_E_CNI_NET_DIR', /ENOTDIR/));
});

test('a read-only directory is an error that names it', {
  skip: process.getuid?.() !== 0 && 'mounting needs root',
}, () => {
  const { installer, netDir, types } = node({ '10-a.conflist': LIST });
  execFileSync('mount', ['--bind', netDir, netDir]);
  try {
    execFileSync('mount', ['-o', 'remount,bind,ro', netDir]);
    assert.throws(
      () => installer.install(ENTRY),
      code('SHUNT_E_CNI_WRITE', /10-a\.conflist: cannot be written: EROFS/),
    );
    assert.deepEqual(types('10-a.conflist'), ['bridge', 'portmap']);
  } finally {
    execFileSync('umount', [netDir]);
  }
});

test('a link to a configuration elsewhere stays a link', () => {
  const { installer, netDir } = node();
  const elsewhere = join(root, 'elsewhere.conflist');
  writeFileSync(elsewhere, JSON.stringify(LIST));
  symlinkSync(elsewhere, join(netDir, '10-a.conflist'));
  installer.install(ENTRY);
  assert.match(readFileSync(elsewhere, 'utf8'), /shunt-cni/);
});

test('a file that was written since it was read is left as the other wrote it', () => {
  const file = join(root, 'raced');
  writeFileSync(file, 'newer');
  assert.equal(replaceFile(file, 'older', 'ours'), false);
  assert.equal(readFileSync(file, 'utf8'), 'newer');
  assert.equal(replaceFile(file, 'newer', 'ours'), true);
  assert.equal(readFileSync(file, 'utf8'), 'ours');
  assert.deepEqual(
    readdirSync(root).filter((name) => name.includes('shunt-new')),
    [],
  );
});

test('a version that comes between the look and the write is put back', () => {
  const [file, beside] = [join(root, 'between'), join(root, 'between.ours')];
  writeFileSync(file, 'newer');
  writeFileSync(beside, 'ours');
  const theirs = statSync(file).ino;
  assert.equal(exchange(beside, file, 'older', 'ours'), false);
  assert.equal(readFileSync(file, 'utf8'), 'newer');
  assert.equal(statSync(file).ino, theirs, 'the very file, which they may have open to write on');
  assert.equal(exchange(beside, file, 'newer', 'ours'), true);
  assert.equal(readFileSync(file, 'utf8'), 'ours');
});

test('what a killed installer left is removed, and is no configuration meanwhile', () => {
  const { installer, netDir, types } = node({ '10-a.conflist': LIST, '.10-a.conflist.1.shunt-new': LIST });
  installer.install(ENTRY);
  assert.deepEqual(types('10-a.conflist').at(-1), 'shunt-cni');
  installer.sweep();
  assert.deepEqual(readdirSync(netDir), ['10-a.conflist']);
});
