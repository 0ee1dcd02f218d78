import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPortRange, mergePortRanges, portPrefixes } from './port_range.ts';

const port = fc.integer({ min: 0, max: 65535 });
const range = fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const inRange = (value: number) => (r: { first: number; last: number }) =>
  value >= r.first && value <= r.last;

test('prefixes cover exactly the ports of the range, each once', () => {
  fc.assert(
    fc.property(range, (r) => {
      let next = r.first;
      for (const { port: start, bits } of portPrefixes(r)) {
        const size = 2 ** (16 - bits);
        assert.equal(start, next, 'no gap and no overlap');
        assert.equal(start % size, 0, 'aligned, so a prefix');
        next = start + size;
      }
      assert.equal(next, r.last + 1);
    }),
    { numRuns: 2000 },
  );
});

test('no two neighbouring prefixes could be one', () => {
  fc.assert(
    fc.property(range, (r) => {
      const prefixes = portPrefixes(r);
      assert.ok(prefixes.length <= 30);
      for (const [index, prefix] of prefixes.entries()) {
        const following = prefixes[index + 1];
        if (following === undefined || following.bits !== prefix.bits) continue;
        const parent = 2 ** (17 - prefix.bits);
        assert.notEqual(Math.floor(prefix.port / parent), Math.floor(following.port / parent));
      }
    }),
  );
});

test('one port is one prefix of 16 bits, every port is one of none', () => {
  assert.deepEqual(portPrefixes({ first: 8080, last: 8080 }), [{ port: 8080, bits: 16 }]);
  assert.deepEqual(portPrefixes({ first: 0, last: 65535 }), [{ port: 0, bits: 0 }]);
  assert.deepEqual(portPrefixes({ first: 0, last: 0 }), [{ port: 0, bits: 16 }]);
  assert.deepEqual(portPrefixes({ first: 65535, last: 65535 }), [{ port: 65535, bits: 16 }]);
  assert.equal(portPrefixes({ first: 1, last: 65534 }).length, 30);
});

for (const bad of [
  { first: 2, last: 1 },
  { first: -1, last: 1 },
  { first: 0, last: 65536 },
  { first: 0.5, last: 1 },
]) {
  test(`${bad.first}-${bad.last} is refused`, () => assert.throws(() => portPrefixes(bad), RangeError));
}

test('merging keeps the set of ports and leaves no neighbours', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), port, (ranges, probe) => {
      const merged = mergePortRanges(ranges);
      assert.equal(merged.some(inRange(probe)), ranges.some(inRange(probe)));
      for (const edge of ranges.flatMap((r) => [r.first, r.last])) assert.ok(merged.some(inRange(edge)));
      for (const [index, r] of merged.entries()) {
        const following = merged[index + 1];
        if (following !== undefined) assert.ok(following.first > r.last + 1);
      }
    }),
  );
});

test('a single port is written without a dash', () => {
  assert.equal(formatPortRange({ first: 80, last: 80 }), '80');
  assert.equal(formatPortRange({ first: 80, last: 90 }), '80-90');
});
