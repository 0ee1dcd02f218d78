/** The runtimes that are on every machine, through accelerated sidecars; `npm run test:runtimes` plays the others. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bed, type Contender, sidecarHere } from './bed.ts';
import { CASES } from './cases/all.ts';
import { judge, type Played, play } from './play.ts';

describe('what a client sees through sidecars is line for line as under iptables, accelerated or not:', () => {
  let bed: Bed;
  let hindrance: string | null;
  before(async () => {
    bed = await Bed.open('rt', sidecarHere());
    hindrance = await bed.hindrance();
  });
  after(() => bed?.[Symbol.asyncDispose]());

  for (const runtime of CASES.filter(({ everywhere }) => everywhere)) {
    it(runtime.name, async (context) => {
      const { unavailable, faults } = await play(bed, runtime, { hindrance });
      if (unavailable !== null) context.skip(unavailable);
      assert.deepEqual(faults, []);
    });
  }
});

describe('a runtime is judged', () => {
  const seen = ['requests 50 512: abc', 'half: def'];
  const runtime = { taken: ['node'], left: { nginx: 'blocks' as const } };
  const one = (more: Partial<Played>, bytes = 0n): Played => ({
    seen,
    carried: { messages: bytes, bytes },
    ends: new Map([['node', { promoted: 1, blocking: 0, other: 0 }]]),
    ...more,
  });
  const faultsOf = (
    change: Partial<Record<Contender, Played>>,
    hindrance: string | null = null,
  ): string[] => {
    const right: [Contender, Played][] = [
      ['iptables', one({})],
      ['plain', one({})],
      ['accelerated', one({}, 10n)],
      ['full', one({}, 30n)],
    ];
    const played = new Map(right.map(([name, played]) => [name, change[name] ?? played] as const));
    return judge(runtime, played, hindrance);
  };

  it('as the same where every line is', () => {
    assert.deepEqual(faultsOf({}), []);
  });

  it('as different where a line is another, is missing or was added', () => {
    const [other, short, long] = [['requests 50 512: abd', 'half: def'], seen.slice(1), [...seen, 'more']];
    assert.equal(faultsOf({ plain: one({ seen: other }) }).length, 1);
    assert.equal(faultsOf({ accelerated: one({ seen: short }, 10n) }).length, 2);
    assert.equal(faultsOf({ full: one({ seen: long }, 10n) }).length, 1);
  });

  it('as wrong where an error shows everywhere alike', () => {
    const failed = one({ seen: ['requests: error:ECONNRESET'] }, 0n);
    const faults = faultsOf({ iptables: failed, plain: failed });
    assert.ok(faults.includes('iptables: requests: error:ECONNRESET'));
  });

  it('as wrong where nothing was redirected that should have been, and the other way round', () => {
    assert.deepEqual(faultsOf({ accelerated: one({}) }), ['accelerated: nothing was redirected']);
    assert.deepEqual(faultsOf({ plain: one({}, 5n) }), ['plain: 5 bytes were redirected']);
    const none = { accelerated: one({}), full: one({}) };
    assert.deepEqual(faultsOf(none, 'the canary failed'), []);
  });

  it('as wrong where connections of the application were taken up that are to be left, and the other way round', () => {
    const ends = new Map([['nginx', { promoted: 1, blocking: 0, other: 0 }]]);
    assert.deepEqual(faultsOf({ full: one({ ends }, 30n) }), [
      'full: no connection of node was taken up',
      'full: connections of nginx were taken up, which blocks',
    ]);
  });
});
