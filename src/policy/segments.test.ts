import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Range, setPrefixes } from './segments.ts';

const inBlock = (value: number, { value: first, bits }: { value: number; bits: number }, width: number) =>
  Math.floor(value / 2 ** (width - bits)) === Math.floor(first / 2 ** (width - bits));

test('every value finds exactly the ranges that cover it, by one block', () => {
  const range = fc
    .tuple(fc.integer({ min: 0, max: 65_535 }), fc.integer({ min: 0, max: 3000 }))
    .map(([first, more]): Range => ({ first, last: Math.min(65_535, first + more) }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), fc.integer({ min: 0, max: 65_535 }), (ranges, value) => {
      const prefixes = setPrefixes(ranges, 16).filter((prefix) => inBlock(value, prefix, 16));
      const expected = ranges.reduce(
        (set, { first, last }, at) => (first <= value && value <= last ? set | (1n << BigInt(at)) : set),
        0n,
      );
      assert.equal(prefixes.length, expected === 0n ? 0 : 1);
      assert.equal(prefixes[0]?.set ?? 0n, expected);
    }),
  );
});

test('the whole of the users is one block of no bits', () => {
  assert.deepEqual(setPrefixes([{ first: 0, last: 4_294_967_295 }], 32), [{ value: 0, bits: 0, set: 1n }]);
});
