import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { rewritten, watching } from '../../test/cni/watched.ts';
import { until } from '../lab/deadline.ts';
import { setUninstalled } from './installation_watch.ts';

/** `npm run test:cni` does it for a minute besides. */
const SECONDS = 10;
const root = mkdtempSync(join(tmpdir(), 'shunt-watch-'));
after(() => rmSync(root, { recursive: true }));

const LIST = JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }] });
const chained = (file: string) =>
  until(() => readFileSync(file, 'utf8').includes('shunt-cni') || undefined, { what: file });

test('a first configuration is taken when it comes, whichever way, and again when the directory is replaced', async () => {
  await using watch = watching(join(root, 'late'));
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
  await using watch = watching(join(root, 'halves'));
  const file = join(watch.netDir, '10-a.conflist');
  writeFileSync(file, LIST.slice(0, 30));
  await until(() => watch.log.find(({ code }) => code === 'SHUNT_E_CNI_CONF_INVALID'), { what: 'the error' });
  assert.equal(readFileSync(file, 'utf8'), LIST.slice(0, 30));
  writeFileSync(file, LIST.slice(30), { flag: 'a' });
  await chained(file);
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).plugins.length, 2);
});

test('who uninstalls is obeyed: it is not put back, until it is installed again', async () => {
  await using watch = watching(join(root, 'uninstalled'));
  const file = join(watch.netDir, '10-a.conflist');
  writeFileSync(file, LIST);
  await chained(file);
  setUninstalled(watch.entry.socket, true);
  writeFileSync(file, LIST);
  await watch.ended;
  assert.equal(readFileSync(file, 'utf8'), LIST);
  setUninstalled(watch.entry.socket, false);
  await using again = watching(join(root, 'uninstalled'));
  await chained(join(again.netDir, '10-a.conflist'));
});

test(`a configuration rewritten every 100 ms for ${SECONDS} s never lacks our entry for a second, and is never harmed`, async (t) => {
  await using watch = watching(join(root, 'rewritten'));
  const file = join(watch.netDir, '10-a.conflist');
  const seen = await rewritten(file, SECONDS);
  t.diagnostic(JSON.stringify(seen));
  assert.ok(seen.writes >= SECONDS * 5, `${seen.writes} writes`);
  assert.ok(seen.longestLostMs < 1000, `${seen.longestLostMs} ms`);
  assert.deepEqual([seen.corrupted, seen.lostWrites], [[], 0]);
  await chained(file);
});
