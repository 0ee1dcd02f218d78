import type { PortRange } from './policy.ts';

/** One entry of an LPM trie over 16-bit ports in network order. */
export interface PortPrefix {
  /** Host order. */
  port: number;
  /** Leading bits of the port that count: 0..16. */
  bits: number;
}

export const MAX_PORT = 65535;

/**
 * The fewest trie entries that hold exactly the range: at most 30, one for a single port.
 *
 * @throws RangeError when the range is not 0 <= first <= last <= 65535
 */
export function portPrefixes(range: PortRange): PortPrefix[] {
  if (!isPortRange(range)) throw new RangeError(`not a port range: ${range.first}-${range.last}`);
  const prefixes: PortPrefix[] = [];
  let port = range.first;
  while (port <= range.last) {
    // The largest aligned block that starts here and does not reach past the end.
    let size = port === 0 ? MAX_PORT + 1 : port & -port;
    while (port + size - 1 > range.last) size >>= 1;
    prefixes.push({ port, bits: 16 - Math.log2(size) });
    port += size;
  }
  return prefixes;
}

export function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= MAX_PORT;
}

export function isPortRange(range: PortRange): boolean {
  return isPort(range.first) && isPort(range.last) && range.first <= range.last;
}

/** Sorted, with overlapping and adjacent ranges made one: the same set of ports in the fewest ranges. */
export function mergePortRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first || a.last - b.last)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      previous.last = Math.max(previous.last, range.last);
    } else {
      merged.push({ ...range });
    }
  }
  return merged;
}

/** `80` for one port, `80-90` for more. */
export function formatPortRange(range: PortRange): string {
  return range.first === range.last ? String(range.first) : `${range.first}-${range.last}`;
}
