import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { markdown } from './markdown.ts';
import type { Measurement } from './measure.ts';
import { plot } from './plot.ts';
import { benchTable, report } from './report.ts';
import { judge, TARGETS } from './targets.ts';

function measurement(
  rounds: Partial<Record<'iptables' | 'redirect' | 'accelerated', number[]>>,
): Measurement {
  return {
    case: 'rtt-pod-64-one',
    title: 'round trip <of> 64 B',
    placement: 'one core',
    metric: { name: 'p50', unit: 'us', better: 'lower' },
    values: Object.entries(rounds).map(([contender, each]) => ({
      contender: contender as 'iptables',
      rounds: each,
    })),
  };
}

const RUN = measurement({ iptables: [100, 200, 400], redirect: [90, 180, 360], accelerated: [50, 100, 200] });

describe('figures of a run', () => {
  it('are held to every target whose case was measured, and to no other', () => {
    const verdicts = judge([RUN]);
    assert.deepEqual(
      verdicts.map(({ target, value, met }) => [target.to, Number(value.toFixed(2)), met]),
      [
        ['iptables', 0.5, true],
        ['redirect', 0.56, true],
      ],
    );
    const slower = judge([measurement({ iptables: [100], redirect: [100], accelerated: [110] })]);
    assert.deepEqual(
      slower.map(({ met }) => met),
      [false, false],
    );
    assert.deepEqual(judge([measurement({ iptables: [1] })]), []);
  });

  it('have a target for each that exists: no target names a case twice', () => {
    const keys = TARGETS.map((target) => [target.case, target.metric, target.contender, target.to].join());
    assert.equal(new Set(keys).size, keys.length);
  });

  it('are printed with their ratio, drawn with their names escaped, and written down', () => {
    const table = benchTable([RUN], ['iptables', 'accelerated'], false);
    assert.match(table, /200 {3,}100 \(0\.50, 0\.50\.\.0\.50\)/);
    const svg = plot([RUN]);
    assert.match(svg, /round trip &#60;of&#62; 64 B/);
    assert.doesNotMatch(svg, /<of>/);
    const verdicts = judge([RUN]);
    const page = markdown(report([RUN], verdicts, { rounds: 3, sidecars: ['haproxy'] }), verdicts);
    assert.match(page, /\| <= 0\.58 \| 0\.50 \| met \|/);
  });
});
