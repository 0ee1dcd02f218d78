/** What sockets do in a redirected pod: plain, under iptables and under eBPF, item by item. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bed } from './bed.ts';
import { compare, type FactDifference, KNOWN_DIFFERENCES, unused } from './differences.ts';
import { ITEMS } from './items/all.ts';
import { play } from './play.ts';

describe('under eBPF it is as under iptables, but for the differences listed:', () => {
  let bed: Bed;
  const found: FactDifference[] = [];
  const ran = new Set<string>();
  before(async () => {
    bed = await Bed.open();
  });
  after(() => bed?.[Symbol.asyncDispose]());

  for (const item of ITEMS) {
    it(item.name, async (context) => {
      let outcome = await play(bed, item);
      // Under load NAT gives a clashing connection another source port, or loses one; a fault of ours shows again.
      if (outcome.faults.length > 0) {
        context.diagnostic(`played again: ${outcome.faults.join('; ')}`);
        outcome = await play(bed, item);
      }
      const { unavailable, faults, differences } = outcome;
      if (unavailable !== null) {
        context.skip(unavailable);
        return;
      }
      ran.add(item.name);
      found.push(...differences);
      assert.deepEqual(faults, []);
    });
  }

  it('and each difference that is listed still shows', () => {
    assert.deepEqual(
      unused(found, ran).map(({ reason }) => reason),
      [],
    );
  });
});

describe('what is listed', () => {
  it('names items that there are', () => {
    const names = new Set(ITEMS.map(({ name }) => name));
    const unknown = KNOWN_DIFFERENCES.flatMap(({ items = [] }) => items.filter((name) => !names.has(name)));
    assert.deepEqual(unknown, []);
    assert.equal(names.size, ITEMS.length);
  });

  it('does not cover another item, field or value, or a missing answer', () => {
    const listed = 'a sidecar with MPTCP listeners, outbound';
    const fact = { call: 'app names', field: 'local', value: '127.0.0.1:15001' };
    const known = (saw: typeof fact, item = listed) =>
      compare(item, [fact], [saw]).map((found) => found.known !== null);
    assert.deepEqual(known(fact), []);
    assert.deepEqual(known({ ...fact, value: 'pod:15001' }), [true]);
    assert.deepEqual(known({ ...fact, value: 'pod:15001' }, 'a blocking connect'), [false]);
    assert.deepEqual(known({ ...fact, value: 'far:15001' }), [false]);
    assert.deepEqual(known({ ...fact, field: 'peer' }), [false, false]);
    const greeted = (landing: string, original: string) => [
      { call: 'app banner', field: 'banner.landing', value: landing },
      { call: 'app banner', field: 'banner.original', value: original },
    ];
    const unanswered = (landing: string) =>
      compare('an item', greeted(landing, 'far:8080'), greeted(landing, 'ENOENT')).map(
        ({ known }) => known !== null,
      );
    assert.deepEqual([unanswered('app:8080'), unanswered('sidecar:15001')], [[true], [false]]);
    assert.deepEqual(
      compare(listed, [fact], []).map(({ saw, known }) => [saw, known]),
      [['none', null]],
    );
  });
});
