import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { METRICS_PAGE, renderMetricsPage } from './metrics_page.ts';

it('is current: run `node --conditions=source src/cli/metrics_page.ts` when the page of metrics is not', () => {
  assert.equal(readFileSync(METRICS_PAGE, 'utf8'), renderMetricsPage());
});
