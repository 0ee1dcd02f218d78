/** `shunt bench` and `npm run bench` as short as they go: figures of every contender, and nothing left behind. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { CASES, casesOf, ENVOY_CASES } from '../../src/cli/bench/cases.ts';
import { CONTENDERS, contendersOf } from '../../src/cli/bench/contenders.ts';
import type { BenchReport } from '../../src/cli/bench/report.ts';
import { attempt } from '../../src/lab/command.ts';
import { netnsOf } from '../../src/lab/topology.ts';

const CLI = join(import.meta.dirname, '../../src/cli/main.ts');
const BENCH = join(import.meta.dirname, '../../bench/main.ts');

function assertNothingLeft(): void {
  assert.deepEqual(netnsOf('shunt-bench'), []);
  assert.equal(existsSync('/sys/fs/bpf/shunt-bench'), false);
}

it('measures every contender in real pods, and takes everything down', async () => {
  const argv = ['--conditions=source', CLI, 'bench', '--rounds', '1', '-o', 'json'];
  const { code, stdout, stderr } = await attempt([process.execPath, ...argv]);
  assert.equal(code, 0, stderr);
  const { measurements, targets, rounds } = JSON.parse(stdout) as BenchReport;
  assert.equal(rounds, 1);
  assert.ok(measurements.length >= 10, `${measurements.length} measurements`);
  for (const { title, values } of measurements) {
    const measured = values.filter((value) => value.rounds.length === 1 && Number(value.rounds[0]) > 0);
    assert.deepEqual(
      measured.map(({ contender }) => contender),
      ['direct', 'iptables', 'redirect', 'accelerated'],
      title,
    );
  }
  assert.ok(targets.length > 0);
  assertNothingLeft();
});

it('has every case of the quick run measured for whom it is about, and writes a plot and a page', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-bench-'));
  using stack = new DisposableStack();
  stack.defer(() => rmSync(folder, { recursive: true }));
  const [json, svg, page] = ['f.json', 'f.svg', 'f.md'].map((name) => join(folder, name));
  const files = ['--json', json ?? '', '--svg', svg ?? '', '--markdown', page ?? ''];
  const argv = ['--conditions=source', BENCH, '--quick', '--rounds', '1', ...files];
  const { code, stderr } = await attempt([process.execPath, ...argv]);
  assert.equal(code, 0, stderr);
  const { measurements } = JSON.parse(readFileSync(json ?? '', 'utf8')) as BenchReport;
  for (const one of casesOf([...CASES, ...ENVOY_CASES], 'quick')) {
    const found = measurements.filter((measurement) => measurement.case === one.id);
    assert.equal(found.length, one.metrics.length, one.id);
    for (const { values } of found) {
      const measured = values.filter(({ rounds }) => rounds.length === 1 && Number(rounds[0]) > 0);
      assert.deepEqual(
        measured.map(({ contender }) => contender),
        contendersOf(one.path, CONTENDERS),
        one.id,
      );
    }
  }
  assert.match(readFileSync(svg ?? '', 'utf8'), /^<svg /);
  assert.match(readFileSync(page ?? '', 'utf8'), /10,000 rules.*\| (met|\*\*missed\*\*) \|/);
  assertNothingLeft();
});
