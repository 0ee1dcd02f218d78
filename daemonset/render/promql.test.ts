import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parser } from '@prometheus-io/lezer-promql';
import * as v from 'valibot';
import { CHART, mappingOf } from './chart.ts';

const Alerts = v.object({
  groups: v.array(
    v.object({
      rules: v.array(
        v.object({
          alert: v.pipe(v.string(), v.regex(/^Shunt[A-Z]/)),
          expr: v.string(),
          for: v.optional(v.string()),
          labels: v.object({ severity: v.picklist(['critical', 'warning', 'info']) }),
          annotations: v.strictObject({ summary: v.string(), description: v.string() }),
        }),
      ),
    }),
  ),
});
const Dashboard = v.object({
  panels: v.array(
    v.object({
      id: v.number(),
      title: v.string(),
      gridPos: v.object({ x: v.number(), y: v.number(), w: v.number(), h: v.number() }),
      targets: v.array(v.object({ expr: v.string() })),
    }),
  ),
});

/** Where an expression stops being PromQL; null when it is. */
function fault(expression: string): string | null {
  // Grafana's own variables stand where a duration does.
  const text = expression.replaceAll('$__rate_interval', '5m');
  let found: string | null = null;
  parser.parse(text).iterate({
    enter: ({ type, from }) => {
      if (type.isError) found ??= text.slice(Math.max(0, from - 20), from + 20);
    },
  });
  return found;
}

test('every alert is PromQL, and says what to do', () => {
  const rules = v.parse(Alerts, mappingOf('../chart/alerts.yaml')).groups.flatMap((group) => group.rules);
  assert.ok(rules.length >= 10);
  for (const { alert, expr } of rules) assert.equal(fault(expr), null, alert);
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
});

test('every panel is PromQL, and none lies over another', () => {
  const { panels } = v.parse(Dashboard, JSON.parse(readFileSync(join(CHART, 'dashboard.json'), 'utf8')));
  const taken = new Set<string>();
  for (const { title, gridPos, targets } of panels) {
    for (const { expr } of targets) assert.equal(fault(expr), null, title);
    assert.ok(gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(!taken.has(`${x} ${y}`), title);
        taken.add(`${x} ${y}`);
      }
    }
  }
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
});

test('what is no PromQL would be found', () => {
  assert.notEqual(fault('sum(rate(shunt_bypass_total[5m])'), null);
  assert.notEqual(fault('sum by node (x)'), null);
});
