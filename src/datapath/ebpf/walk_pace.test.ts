import assert from 'node:assert/strict';
import { it } from 'node:test';
import { WalkPace } from './walk_pace.ts';

it('walks follow closely while a connection is about to change, and each second while none is', () => {
  const pace = new WalkPace();
  assert.deepEqual(
    ['..', ':.', ':', ''].map((marks) => pace.after(marks, 0.5)),
    [250, 250, 1000, 1000],
  );
});

it('walks that cost much are rarer, and rarest while nobody is accelerated', () => {
  for (const [marks, periodMs] of [
    ['.', 20 * 60],
    [':', 20 * 60],
    ['', 250 * 60],
  ] as const)
    assert.equal(new WalkPace().after(marks, 60), periodMs);
});

it('a walk that waited for a CPU is not taken for one that costs much, and a lasting cost is', () => {
  const pace = new WalkPace();
  pace.after('', 1);
  assert.equal(pace.after('', 80), 1000);
  for (let walk = 0; walk < 3; walk++) pace.after('', 80);
  assert.equal(pace.after('', 80), 20_000);
});
