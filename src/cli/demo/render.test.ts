import assert from 'node:assert/strict';
import { it } from 'node:test';
import { size, tableHead, tableRow } from './render.ts';
import { blankRow, judged } from './row.ts';

const IO = { out() {}, note() {}, err() {}, colour: { out: false, err: false }, env: {} };

it('puts every column of a row under its head, and never runs past 120 columns', () => {
  const row = {
    ...blankRow('outbound IPv4-mapped', 'app of pod-a', '', 'why'),
    acceptedBy: ['sidecar-a', 'sidecar-b', 'app-b'],
    originalDst: ['[2001:db8:2::2]:8080', '[2001:db8:2::2]:8080'],
    peername: '[::ffff:192.0.2.2]:8080',
  };
  const [line = ''] = tableRow(row, IO).split('\n');
  const head = tableHead().trimEnd();
  for (const [title, text] of [
    ['ACCEPTED BY', 'sidecar-a, sidecar-b, app-b'],
    ['ORIGINAL DST', '[2001:db8:2::2]:8080'],
    ['GETPEERNAME', '[::ffff:192.0.2.2]:8080'],
    ['RESULT', 'ok'],
  ] as const) {
    assert.equal(line.slice(head.indexOf(title)).startsWith(text), true, `${title} in ${line}`);
  }
  assert.ok(line.length <= 120);
});

it('lists what is wrong below a row that failed', () => {
  const row = judged({ ...blankRow('inbound', '', '', 'why'), failures: ['it went directly'] });
  assert.equal(row.result, 'FAILED');
  const lines = tableRow(row, IO).split('\n');
  assert.match(lines[0] ?? '', /FAILED$/);
  assert.equal(lines[2], '  ! it went directly');
});

it('writes sizes short', () => {
  assert.deepEqual([0, 1023, 1024, 10 * 1024, 4_096_000].map(size), [
    '0 B',
    '1023 B',
    '1.0 KB',
    '10 KB',
    '3.9 MB',
  ]);
});
