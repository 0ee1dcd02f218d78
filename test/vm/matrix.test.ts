import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tierState } from '../../src/datapath/tier.ts';
import { type Cell, markdown, type Row, summaryOf } from './matrix.ts';
import { merged } from './results.ts';
import { SUITES } from './suites.ts';

const cell = (suite: string, outcome: Cell['outcome'], detail = ''): Cell => {
  return { suite, outcome, detail, output: '', seconds: 1 };
};
const row = (build: string, ...cells: Cell[]): Row => {
  return { kernel: '6.1', build, tier: tierState(3, null), cells };
};
const MONDAY = new Date('2026-11-23');
const TUESDAY = new Date('2026-11-24');

test('a later run puts its cells beside those of earlier ones, and in the place of its own', () => {
  const first = merged([], row('1', cell('load', 'failed'), cell('istio', 'passed')), MONDAY);
  const [kept] = merged(first, row('1', cell('load', 'passed')), TUESDAY);
  assert.deepEqual(
    kept?.cells.map(({ suite, outcome, on }) => [suite, outcome, on]),
    [
      ['istio', 'passed', '2026-11-23'],
      ['load', 'passed', '2026-11-24'],
    ],
  );
});

test('what another build of the kernel gave is not taken for that of this one', () => {
  const first = merged([], row('1', cell('istio', 'passed')), MONDAY);
  const second = merged(first, row('2', cell('load', 'passed')), TUESDAY);
  assert.deepEqual(
    second.map(({ build, cells }) => [build, cells.length]),
    [['2', 1]],
  );
});

test('the page says what was not run, and when the rest was', () => {
  const rows = merged(
    [],
    row('1', cell('load', 'passed', 'a | b'), cell('faults', 'not applicable', 'old')),
    MONDAY,
  );
  const page = markdown(rows, SUITES);
  assert.match(page, /^Run on 2026-11-23\.$/m);
  const line = page.split('\n').find((each) => each.startsWith('| 6.1 ')) ?? '';
  const cells = line.split(/(?<!\\)\|/).map((text) => text.trim());
  assert.equal(cells.length, SUITES.length + 5);
  assert.deepEqual(cells.slice(1, 6), ['6.1', '1', '3', 'passed: a \\| b', 'not run']);
  const faults = SUITES.findIndex(({ name }) => name === 'faults');
  assert.equal(cells[4 + faults], 'not applicable: old');
});

test('a suite that ended with an error says which', () => {
  const output =
    'ok   haproxy plain\nShuntError: waited 300 s for the agent\n    at until (deadline.ts:37:13)\n';
  assert.equal(summaryOf(output, 'failed'), 'ShuntError: waited 300 s for the agent');
});

test('a passed suite says what all of it came to, not what its last part did', () => {
  const output = [
    'istio    ebpf      164 same, 175 different by choice, 0 failed',
    'linkerd  ebpf      167 same, 152 different by choice, 0 failed',
  ].join('\n');
  assert.equal(summaryOf(output, 'passed'), '331 same, 327 different by choice, 0 failed');
  assert.equal(summaryOf('ℹ tests 8\nℹ pass 8\nℹ fail 0\nℹ skipped 0\n', 'passed'), 'pass 8, fail 0');
});
