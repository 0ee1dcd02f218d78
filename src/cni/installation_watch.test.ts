import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '../lab/deadline.ts';
import type { PluginEntry } from './conflist.ts';
import { keepInstalled, setUninstalled } from './installation_watch.ts';
import { CniInstaller } from './installer.ts';

const PRIMARY = fileURLToPath(new URL('../../test/cni/primary.ts', import.meta.url));
/** `npm run test:cni` makes it a minute. */
const SECONDS = Number(process.env.SHUNT_CONFLIST_SECONDS ?? 10);
const root = mkdtempSync(join(tmpdir(), 'shunt-watch-'));
after(() => rmSync(root, { recursive: true }));

interface Watched extends AsyncDisposable {
  netDir: string;
  entry: PluginEntry;
  log: { event?: string; code?: string }[];
  ended: Promise<void>;
}

function watching(name: string): Watched {
  const folder = join(root, name);
  const [netDir, binDir, program] = ['net.d', 'bin', 'program'].map((part) => join(folder, part)) as [
    string,
    string,
    string,
  ];
  mkdirSync(netDir, { recursive: true });
  writeFileSync(program, 'the plugin');
  const entry: PluginEntry = {
    type: 'shunt-cni',
    socket: join(folder, 'cni.sock'),
    left: join(folder, 'left'),
    pass: { namespaces: [], pods: [] },
  };
  const stop = new AbortController();
  const log: Watched['log'] = [];
  const note = (fields: object) => void log.push(fields);
  const ended = keepInstalled({
    installer: new CniInstaller({ netDir, binDir, program }),
    netDir,
    entry: () => entry,
    signal: stop.signal,
    log: { info: note, warn: note },
  });
  return {
    netDir,
    entry,
    log,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

const LIST = JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }] });
const chained = (file: string) =>
  until(() => readFileSync(file, 'utf8').includes('shunt-cni') || undefined, { what: file });

test('a first configuration is taken when it comes, whichever way, and again when the directory is replaced', async () => {
  await using watch = watching('late');
  await until(() => watch.log.find(({ code }) => code === 'SHUNT_E_CNI_NO_CONF'), { what: 'the error' });
  const file = join(watch.netDir, '10-a.conflist');
  writeFileSync(join(root, 'moved'), LIST);
  renameSync(join(root, 'moved'), file);
  await chained(file);
  renameSync(watch.netDir, `${watch.netDir}.old`);
  mkdirSync(watch.netDir);
  writeFileSync(file, LIST);
  await chained(file);
});

test('a file that is written in two halves is touched only when it is whole', async () => {
  await using watch = watching('halves');
  const file = join(watch.netDir, '10-a.conflist');
  writeFileSync(file, LIST.slice(0, 30));
  await until(() => watch.log.find(({ code }) => code === 'SHUNT_E_CNI_CONF_INVALID'), { what: 'the error' });
  assert.equal(readFileSync(file, 'utf8'), LIST.slice(0, 30));
  writeFileSync(file, LIST.slice(30), { flag: 'a' });
  await chained(file);
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).plugins.length, 2);
});

test('who uninstalls is obeyed: it is not put back, until it is installed again', async () => {
  await using watch = watching('uninstalled');
  const file = join(watch.netDir, '10-a.conflist');
  writeFileSync(file, LIST);
  await chained(file);
  setUninstalled(watch.entry.socket, true);
  writeFileSync(file, LIST);
  await watch.ended;
  assert.equal(readFileSync(file, 'utf8'), LIST);
  setUninstalled(watch.entry.socket, false);
  await using again = watching('uninstalled');
  await chained(join(again.netDir, '10-a.conflist'));
});

test(`a configuration rewritten every 100 ms for ${SECONDS} s never lacks our entry for a second, and is never harmed`, async (t) => {
  await using watch = watching('rewritten');
  const file = join(watch.netDir, '10-a.conflist');
  const args = ['--conditions=source', PRIMARY, file, String(SECONDS * 1000), '100'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const seen: unknown = JSON.parse(stdout);
  t.diagnostic(stdout.trim());
  assert.ok(typeof seen === 'object' && seen !== null && 'writes' in seen && 'longestLostMs' in seen);
  assert.ok(Number(seen.writes) >= SECONDS * 5, stdout);
  assert.ok(Number(seen.longestLostMs) < 1000, stdout);
  assert.ok('corrupted' in seen && 'lostWrites' in seen);
  assert.deepEqual(seen.corrupted, []);
  assert.equal(seen.lostWrites, 0);
  await chained(file);
});
