import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { markdown } from './markdown.ts';
import type { Measurement } from './measure.ts';
import { plot } from './plot.ts';
import { benchTable, report } from './report.ts';
import type { BenchResult } from './run.ts';
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

function result(...measurements: Measurement[]): BenchResult {
  return { measurements, promotion: [], profiles: [], node: [] };
}

const RUN = measurement({ iptables: [100, 200, 400], redirect: [90, 180, 360], accelerated: [50, 100, 200] });

describe('figures of a run', () => {
  it('are held to every target whose case was measured, and to no other', () => {
    const verdicts = judge(result(RUN));
    assert.deepEqual(
      verdicts.map(({ target, value, met }) => [target.text, Number(value.toFixed(2)), met]),
      [
        ['round trip pod to pod, 64 B', 0.5, true],
        ['the same, 64 B, where sidecars alone are accelerated', 0.5, true],
        ['accelerated to un-accelerated, round trip of 64 B', 0.56, true],
      ],
    );
    const slower = judge(result(measurement({ iptables: [100], redirect: [100], accelerated: [110] })));
    assert.deepEqual(
      slower.map(({ met }) => met),
      [false, false, false],
    );
    assert.deepEqual(judge(result(measurement({ iptables: [1] }))), []);
  });

  it('of the node are held to percentiles of their own', () => {
    const times = Array.from({ length: 101 }, (_, index) => index / 10);
    const node = [
      { id: 'enroll', title: 'enroll', unit: 'ms', values: times },
      { id: 'idle-500', title: 'idle', unit: '', values: [0.0008] },
      { id: 'nft', title: 'not ours', unit: 'ms', values: times },
    ];
    assert.deepEqual(
      judge({ ...result(), node }).map(({ target, value, met }) => [target.text, value, met]),
      [
        ['enroll a pod, event to enforced, ms: p50', 5, false],
        ['enroll a pod, event to enforced, ms: p99', 9.9, false],
        ['agent with 500 pods, idle: share of a core', 0.0008, true],
      ],
    );
  });

  it('may be held to another case of the group, and to nothing but themselves', () => {
    const rules = (count: number, mean: number): Measurement => ({
      ...measurement({ iptables: [100, 100], accelerated: [mean, mean] }),
      case: `rules-${count}`,
      metric: { name: 'mean', unit: 'us', better: 'lower' },
    });
    const flat = judge(result(rules(0, 50), rules(10_000, 60)));
    assert.deepEqual(
      flat.map(({ value, met }) => [Number(value.toFixed(2)), met]),
      [
        [0.6, true],
        [1.2, false],
      ],
    );
    const idle = { walksPerSecond: 1, programMs: 1 };
    const promotion = [
      { connections: 0, agentMs: 1, ...idle },
      { connections: 1_000, agentMs: 9, ...idle },
    ];
    assert.deepEqual(
      judge({ ...result(), promotion }).map(({ met }) => met),
      [true, false],
    );
  });

  it('have a target for each that exists: no target names a case twice', () => {
    const keys = TARGETS.map((target) =>
      [target.case, target.metric, target.contender, target.to, target.toCase, target.most].join(),
    );
    assert.equal(new Set(keys).size, keys.length);
  });

  it('are printed with their ratio, drawn with their names escaped, and written down', () => {
    const table = benchTable([RUN], ['iptables', 'accelerated'], false);
    assert.match(table, /200 {3,}100 \(0\.50, 0\.50\.\.0\.50\)/);
    const svg = plot([RUN]);
    assert.match(svg, /round trip &#60;of&#62; 64 B/);
    assert.doesNotMatch(svg, /<of>/);
    const verdicts = judge(result(RUN));
    const page = markdown(report(result(RUN), verdicts, { rounds: 3, sidecars: ['haproxy'] }), verdicts);
    assert.match(page, /\| <= 0\.58 \| 0\.50 \| met \|/);
  });
});
