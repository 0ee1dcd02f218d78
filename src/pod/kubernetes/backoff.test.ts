import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff, DEFAULT_BACKOFF } from './backoff.ts';

test('waits grow to the longest and no further, and start anew after a success', () => {
  const backoff = new Backoff({ shortestMs: 100, longestMs: 1000 }, () => 1);
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next(), backoff.next()], [300, 900, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 300);
});

test('two clients that failed together wait differently, and never less than the shortest', () => {
  const limits = { shortestMs: 100, longestMs: 1000 };
  const waits = Array.from({ length: 50 }, () => {
    const backoff = new Backoff(limits);
    return [backoff.next(), backoff.next(), backoff.next()];
  });
  assert.ok(new Set(waits.map((three) => three.join())).size > 40);
  assert.ok(waits.flat().every((ms) => ms >= 100 && ms <= 1000));
});

test('what the server asked for is kept, with a little added', () => {
  const backoff = new Backoff({ shortestMs: 100, longestMs: 1000 });
  for (let i = 0; i < 20; i++) {
    const ms = backoff.next(60_000);
    assert.ok(ms >= 60_000 && ms <= 66_000, String(ms));
  }
});

test('an hour without the server costs it a few hundred requests of a node, and is noticed to be over within half a minute', () => {
  for (let node = 0; node < 100; node++) {
    const backoff = new Backoff();
    let [attempts, longestMs] = [0, 0];
    for (let passedMs = 0; passedMs < 3_600_000; attempts++) {
      const waitMs = backoff.next();
      longestMs = Math.max(longestMs, waitMs);
      passedMs += waitMs;
    }
    assert.ok(attempts >= 120 && attempts < 500, String(attempts));
    assert.ok(longestMs <= DEFAULT_BACKOFF.longestMs);
  }
});
