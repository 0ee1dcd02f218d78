import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { median, percentile, ratio } from './statistics.ts';

describe('samples', () => {
  it('give their nearest ranks, whatever order they came in', () => {
    assert.equal(median([5, 1, 3]), 3);
    assert.equal(percentile([5, 4, 3, 2, 1], 0), 1);
    assert.equal(percentile([5, 4, 3, 2, 1], 1), 5);
    const hundred = Array.from({ length: 101 }, (_, index) => 100 - index);
    assert.deepEqual([percentile(hundred, 0.1), percentile(hundred, 0.99)], [10, 99]);
    assert.equal(percentile([7], 0.99), 7);
  });

  it('stay in the order they came in', () => {
    const samples = [3, 1, 2];
    median(samples);
    assert.deepEqual(samples, [3, 1, 2]);
  });

  it('are compared within a round, not between medians', () => {
    // A machine that became four times slower during the run changes no ratio.
    assert.deepEqual(ratio([50, 100, 200], [100, 200, 400]), { median: 0.5, low: 0.5, high: 0.5 });
  });
});
