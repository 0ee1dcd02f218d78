/** `shunt bench` as a user runs it, as short as it goes: figures of every contender, and nothing left behind. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { BenchReport } from '../../src/cli/bench/report.ts';
import { attempt } from '../../src/lab/command.ts';
import { netnsOf } from '../../src/lab/topology.ts';

const CLI = join(import.meta.dirname, '../../src/cli/main.ts');

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
  assert.deepEqual(netnsOf('shunt-bench'), []);
  assert.equal(existsSync('/sys/fs/bpf/shunt-bench'), false);
});
