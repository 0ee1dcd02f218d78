import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Health } from './health.ts';

describe('health', () => {
  let nowMs: number;
  let health: Health;
  beforeEach(() => {
    nowMs = 1_000;
    health = new Health({ intervalMs: 60_000, stuckAfterMs: 120_000, nowMs: () => nowMs });
  });

  it('is live from the first moment, started with the data plane, and ready with the first whole pass', () => {
    assert.equal(health.fault('livez'), null);
    assert.match(health.fault('startupz') ?? '', /not loaded/);
    health.started();
    assert.equal(health.fault('startupz'), null);
    health.passBegan();
    assert.match(health.fault('readyz') ?? '', /no pass/);
    health.passEnded(false);
    assert.match(health.fault('readyz') ?? '', /no pass/);
    health.passBegan();
    health.passEnded(true);
    assert.equal(health.fault('readyz'), null);
  });

  it('stays ready after a pass that failed, and is not when it is ending', () => {
    health.passEnded(true);
    health.passEnded(false);
    assert.equal(health.fault('readyz'), null);
    health.ending();
    assert.match(health.fault('readyz') ?? '', /stopping/);
    assert.equal(health.fault('livez'), null);
  });

  it('is not live while a pass hangs, and is again when it ends', () => {
    health.passBegan();
    nowMs += 120_000;
    assert.equal(health.fault('livez'), null);
    nowMs += 1;
    assert.equal(health.fault('livez'), 'a pass over the pods has run for 120 s');
    health.passEnded(true);
    assert.equal(health.fault('livez'), null);
  });

  it('is not live when passes are not begun any more', () => {
    health.passEnded(true);
    nowMs += 180_000;
    assert.equal(health.fault('livez'), null);
    nowMs += 1_000;
    assert.equal(health.fault('livez'), 'no pass over the pods was begun for 181 s');
  });
});
