import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { type ErrorCode, ShuntError } from '../errors.ts';
import { readPodFiles, type Snapshot, watchPodFiles } from './files.ts';
import { MAX_MANIFEST_BYTES } from './manifest.ts';

const manifest = (name: string, metadata: object = {}) =>
  stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, ...metadata }, spec: { containers: [] } });

interface Watched {
  directory: string;
  write(file: string, text: string): void;
  next(): Promise<Snapshot>;
  stop(): Promise<void>;
}

function directoryOf(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shunt-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function watched(
  t: TestContext,
  options: { file?: string; rereadMs?: number; before?: Record<string, string> } = {},
): Watched {
  const directory = join(directoryOf(t), 'pods');
  mkdirSync(directory);
  for (const [file, text] of Object.entries(options.before ?? {})) writeFileSync(join(directory, file), text);
  const stop = new AbortController();
  const path = options.file === undefined ? directory : join(directory, options.file);
  const { rereadMs = 3_600_000 } = options;
  const snapshots = watchPodFiles(path, { signal: stop.signal, debounceMs: 20, rereadMs });
  t.after(() => stop.abort());
  return {
    directory,
    write: (file, text) => writeFileSync(join(directory, file), text),
    async next() {
      const { value, done } = await snapshots.next();
      assert.ok(done !== true && value !== undefined, 'the iteration ended');
      return value;
    },
    async stop() {
      stop.abort();
      assert.deepEqual(await snapshots.next(), { value: undefined, done: true });
    },
  };
}

const names = (snapshot: Snapshot) => snapshot.pods.map(({ pod }) => pod.metadata.name);
const refused = (snapshot: Snapshot) =>
  snapshot.rejected.map(({ file, error }) => [basename(file), error.code]);
const code = (expected: ErrorCode) => (error: unknown) =>
  error instanceof ShuntError && error.code === expected;

test('manifests of a directory are read in the order of their names', async (t) => {
  const files = watched(t, {
    before: {
      'b.yaml': manifest('b'),
      'a.yml': manifest('a2'),
      'a.json': JSON.stringify({ kind: 'List', items: [] }),
    },
  });
  files.write('c.json', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'c' }, spec: {} }));
  const snapshot = await files.next();
  assert.deepEqual(names(snapshot), ['a2', 'b', 'c']);
  assert.equal(snapshot.pods[0]?.file, join(files.directory, 'a.yml'));
  assert.deepEqual(snapshot.rejected, []);
});

test('hidden files, backups, other files and subdirectories are not manifests', async (t) => {
  const files = watched(t, {
    before: {
      'a.yaml': manifest('a'),
      '.a.yaml.swp': 'x: [',
      '.#a.yaml': 'x: [',
      '#a.yaml#': 'x: [',
      'a.yaml~': 'x: [',
      'a.yaml.tmp': 'x: [',
      'README.md': 'x: [',
    },
  });
  mkdirSync(join(files.directory, 'more.yaml'));
  symlinkSync('/nowhere', join(files.directory, 'dangling.yaml'));
  const snapshot = await files.next();
  assert.deepEqual(names(snapshot), ['a']);
  assert.deepEqual(snapshot.rejected, []);
});

test('a new file, a changed file and a deleted file are told, one after the other', async (t) => {
  const files = watched(t, { before: { 'a.yaml': manifest('a') } });
  assert.deepEqual(names(await files.next()), ['a']);
  files.write('b.yaml', manifest('b'));
  assert.deepEqual(names(await files.next()), ['a', 'b']);
  files.write('a.yaml', manifest('a', { labels: { app: 'x' } }));
  assert.deepEqual((await files.next()).pods[0]?.pod.metadata.labels, { app: 'x' });
  unlinkSync(join(files.directory, 'a.yaml'));
  assert.deepEqual(names(await files.next()), ['b']);
  await files.stop();
});

test('a file replaced by renaming another over it is read again', async (t) => {
  const files = watched(t, { before: { 'a.yaml': manifest('a') } });
  await files.next();
  files.write('a.yaml.new', manifest('a', { labels: { v: '2' } }));
  renameSync(join(files.directory, 'a.yaml.new'), join(files.directory, 'a.yaml'));
  assert.deepEqual((await files.next()).pods[0]?.pod.metadata.labels, { v: '2' });
});

test('a directory mounted from a ConfigMap is followed when its link is swapped', async (t) => {
  const files = watched(t);
  assert.deepEqual(names(await files.next()), []);
  for (const version of ['1', '2']) {
    const data = join(files.directory, `..${version}`);
    mkdirSync(data);
    writeFileSync(join(data, 'a.yaml'), manifest('a', { labels: { version } }));
    symlinkSync(`..${version}`, join(files.directory, '..tmp'));
    renameSync(join(files.directory, '..tmp'), join(files.directory, '..data'));
    if (version === '1') symlinkSync('..data/a.yaml', join(files.directory, 'a.yaml'));
    assert.deepEqual((await files.next()).pods[0]?.pod.metadata.labels, { version });
  }
});

test('a file that turns bad keeps its last good pods, and says what is wrong until it is mended', async (t) => {
  const files = watched(t, { before: { 'a.yaml': manifest('a'), 'b.yaml': manifest('b') } });
  await files.next();
  files.write('a.yaml', 'kind: [');
  const bad = await files.next();
  assert.deepEqual(names(bad), ['a', 'b']);
  assert.deepEqual(refused(bad), [['a.yaml', 'SHUNT_E_MANIFEST_SYNTAX']]);
  files.write('a.yaml', 'kind: Service');
  const worse = await files.next();
  assert.deepEqual(names(worse), ['a', 'b']);
  assert.deepEqual(refused(worse), [['a.yaml', 'SHUNT_E_MANIFEST_NOT_POD']]);
  files.write('a.yaml', manifest('a3'));
  const good = await files.next();
  assert.deepEqual(names(good), ['a3', 'b']);
  assert.deepEqual(good.rejected, []);
});

test('a bad file that was never good has no pods and keeps no other file from being read', async (t) => {
  const files = watched(t, {
    before: {
      'a.yaml': '{',
      'b.yaml': manifest('b'),
      'c.yaml': `#${' '.repeat(MAX_MANIFEST_BYTES)}`,
    },
  });
  writeFileSync(join(files.directory, 'd.yaml'), Uint8Array.of(0x61, 0xff));
  const snapshot = await files.next();
  assert.deepEqual(names(snapshot), ['b']);
  assert.deepEqual(refused(snapshot), [
    ['a.yaml', 'SHUNT_E_MANIFEST_SYNTAX'],
    ['c.yaml', 'SHUNT_E_MANIFEST_TOO_LARGE'],
    ['d.yaml', 'SHUNT_E_MANIFEST_SYNTAX'],
  ]);
});

test('of two manifests of one pod the first by file name is in force, and the second when the first is deleted', async (t) => {
  const files = watched(t, {
    before: {
      '1.yaml': manifest('web', { uid: 'u1', labels: { from: '1' } }),
      '2.yaml': `${manifest('web', { labels: { from: '2' } })}---\n${manifest('other')}`,
      '3.yaml': manifest('another', { uid: 'u1' }),
    },
  });
  const both = await files.next();
  assert.deepEqual(
    both.pods.map(({ pod }) => [pod.metadata.name, pod.metadata.labels.from]),
    [
      ['web', '1'],
      ['other', undefined],
    ],
  );
  assert.deepEqual(refused(both), [
    ['2.yaml', 'SHUNT_E_MANIFEST_DUPLICATE'],
    ['3.yaml', 'SHUNT_E_MANIFEST_DUPLICATE'],
  ]);
  assert.match(both.rejected[0]?.error.message ?? '', /default\/web.*1\.yaml/);
  unlinkSync(join(files.directory, '1.yaml'));
  const one = await files.next();
  assert.deepEqual(names(one), ['web', 'other', 'another']);
  assert.deepEqual(one.rejected, []);
});

test('a single file is watched through replacement, and takes its pods along when deleted', async (t) => {
  const files = watched(t, {
    file: 'pods.txt',
    before: { 'pods.txt': manifest('a'), 'other.yaml': manifest('b') },
  });
  assert.deepEqual(names(await files.next()), ['a']);
  files.write('next', manifest('a2'));
  renameSync(join(files.directory, 'next'), join(files.directory, 'pods.txt'));
  assert.deepEqual(names(await files.next()), ['a2']);
  unlinkSync(join(files.directory, 'pods.txt'));
  const gone = await files.next();
  assert.deepEqual(names(gone), []);
  assert.deepEqual(refused(gone), [['pods.txt', 'SHUNT_E_PODS_PATH']]);
  files.write('pods.txt', manifest('a3'));
  const back = await files.next();
  assert.deepEqual(names(back), ['a3']);
  assert.deepEqual(back.rejected, []);
});

test('a directory that disappears keeps its pods, and is read again when it comes back', async (t) => {
  const files = watched(t, { before: { 'a.yaml': manifest('a') } });
  await files.next();
  renameSync(files.directory, `${files.directory}.away`);
  const gone = await files.next();
  assert.deepEqual(names(gone), ['a']);
  assert.deepEqual(refused(gone), [['pods', 'SHUNT_E_PODS_PATH']]);
  mkdirSync(files.directory);
  files.write('b.yaml', manifest('b'));
  let back = await files.next();
  // The directory may be seen before its file is.
  while (back.pods.length === 0) back = await files.next();
  assert.deepEqual(names(back), ['b']);
  assert.deepEqual(back.rejected, []);
  files.write('c.yaml', manifest('c'));
  assert.deepEqual(names(await files.next()), ['b', 'c'], 'the new directory is watched');
});

test('reading again without a change tells nothing', async (t) => {
  const files = watched(t, { rereadMs: 5, before: { 'a.yaml': manifest('a'), 'bad.yaml': '{' } });
  await files.next();
  const next = files.next();
  // Time for some twenty reads; what must not happen cannot be awaited.
  await delay(100);
  files.write('a.yaml', manifest('a2'));
  assert.deepEqual(names(await next), ['a2']);
});

test('the slow read finds what no event told', async (t) => {
  const target = join(directoryOf(t), 'elsewhere.yaml');
  writeFileSync(target, manifest('a'));
  const files = watched(t, { rereadMs: 20 });
  symlinkSync(target, join(files.directory, 'a.yaml'));
  assert.deepEqual(names(await files.next()), ['a']);
  writeFileSync(target, manifest('b'));
  assert.deepEqual(names(await files.next()), ['b']);
});

test('many writes become few snapshots, the last of them complete', async (t) => {
  const files = watched(t);
  await files.next();
  for (let i = 0; i < 200; i++) files.write(`p${i}.yaml`, manifest(`p${i}`));
  let snapshots = 0;
  let last: Snapshot;
  do {
    last = await files.next();
    snapshots++;
  } while (last.pods.length < 200);
  assert.ok(snapshots < 20, `${snapshots} snapshots`);
});

test('a path that is not there is refused', async () => {
  const signal = new AbortController().signal;
  await assert.rejects(watchPodFiles('/nowhere/pods', { signal }).next(), code('SHUNT_E_PODS_PATH'));
  await assert.rejects(readPodFiles('/nowhere/pods'), code('SHUNT_E_PODS_PATH'));
});

test('an aborted signal ends the iteration before it begins', async (t) => {
  const directory = directoryOf(t);
  const { done } = await watchPodFiles(directory, { signal: AbortSignal.abort() }).next();
  assert.equal(done, true);
});

test('a snapshot names the pods that are new, unless anything else changed or cannot be used', async (t) => {
  const files = watched(t, { before: { 'a.yaml': manifest('a') } });
  assert.equal((await files.next()).changed, undefined);
  files.write('b.yaml', manifest('b', { uid: 'uid-b' }));
  assert.deepEqual((await files.next()).changed, new Set(['uid-b']));
  files.write('a.yaml', manifest('a', { annotations: { other: 'x' } }));
  assert.equal((await files.next()).changed, null);
  unlinkSync(join(files.directory, 'b.yaml'));
  assert.equal((await files.next()).changed, null);
  files.write('bad.yaml', 'kind: [');
  assert.equal((await files.next()).changed, null);
  files.write('c.yaml', manifest('c'));
  assert.equal((await files.next()).changed, null);
});
