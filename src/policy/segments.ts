/** Overlapping ranges of numbers as prefixes that each know which of the ranges they lie in. */

export interface Range {
  first: number;
  last: number;
}

export interface SetPrefix {
  /** First value of the block. */
  value: number;
  /** Leading bits that count. */
  bits: number;
  /** Bit n is set where range n covers the block. */
  set: bigint;
}

/**
 * A longest-prefix map finds one entry for a value, so each block carries the whole set of ranges that cover it.
 *
 * @param ranges closed, within `width` bits
 * @param width bits of a value: 16 for ports, 32 for users
 */
export function setPrefixes(ranges: readonly Range[], width: 16 | 32): SetPrefix[] {
  const edges = [...new Set(ranges.flatMap(({ first, last }) => [first, last + 1]))].sort((a, b) => a - b);
  return edges.slice(0, -1).flatMap((first, index) => {
    const last = (edges[index + 1] ?? first + 1) - 1;
    const set = ranges.reduce(
      (bits, range, at) => (range.first <= first && last <= range.last ? bits | (1n << BigInt(at)) : bits),
      0n,
    );
    return set === 0n ? [] : blocks(first, last, width).map((block) => ({ ...block, set }));
  });
}

/** A range as aligned blocks, largest first fit. */
function blocks(first: number, last: number, width: number): { value: number; bits: number }[] {
  const found: { value: number; bits: number }[] = [];
  for (let value = first; value <= last; ) {
    let size = 1;
    while (value % (size * 2) === 0 && value + size * 2 - 1 <= last) size *= 2;
    found.push({ value, bits: width - Math.log2(size) });
    value += size;
  }
  return found;
}
