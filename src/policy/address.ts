/**
 * IP addresses as the maps hold them: 16 bytes in network order, IPv4 behind ::ffff:0:0/96 (bpf/layout.h,
 * `struct addr`). Text is read strictly, because a value that two parsers read differently is a hole in a
 * policy: no leading zeros in IPv4, no zone ids, ASCII digits only.
 */

const ADDRESS_BYTES = 16;
const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

const OCTET = /^(?:0|[1-9][0-9]{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;

export type AddressFamily = 4 | 6;

/**
 * Reads an address.
 *
 * @returns 16 bytes in network order, or null when the text is no address. `::ffff:a.b.c.d` and `a.b.c.d` give the same bytes.
 */
export function parseAddress(text: string): Uint8Array | null {
  return text.includes(':') ? parseIp6(text) : parseIp4(text);
}

function parseIp4(text: string): Uint8Array | null {
  const octets = parseOctets(text);
  if (octets === null) return null;
  const bytes = new Uint8Array(ADDRESS_BYTES);
  bytes.set(MAPPED_PREFIX);
  bytes.set(octets, MAPPED_PREFIX.length);
  return bytes;
}

function parseOctets(text: string): number[] | null {
  const parts = text.split('.', 5);
  if (parts.length !== 4) return null;
  const octets: number[] = [];
  for (const part of parts) {
    if (!OCTET.test(part)) return null;
    const octet = Number(part);
    if (octet > 255) return null;
    octets.push(octet);
  }
  return octets;
}

function parseIp6(text: string): Uint8Array | null {
  // The longest text form is 45 characters; a bound keeps a hostile annotation from costing more.
  if (text.length > 45) return null;
  const gap = text.indexOf('::');
  if (gap === -1) {
    const groups = parseGroups(text);
    return groups !== null && groups.length === 8 ? bytesOfGroups(groups) : null;
  }
  if (text.indexOf('::', gap + 1) !== -1) return null;
  const headText = text.slice(0, gap);
  const tailText = text.slice(gap + 2);
  if (headText.includes('.')) return null;
  const head = headText === '' ? [] : parseGroups(headText);
  const tail = tailText === '' ? [] : parseGroups(tailText);
  if (head === null || tail === null) return null;
  // "::" stands for one group at least.
  const missing = 8 - head.length - tail.length;
  if (missing < 1) return null;
  return bytesOfGroups([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** Groups separated by single colons; the last may be dotted IPv4, which makes two groups. */
function parseGroups(text: string): number[] | null {
  const parts = text.split(':');
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      if (index !== parts.length - 1) return null;
      const octets = parseOctets(part);
      if (octets === null) return null;
      const [a = 0, b = 0, c = 0, d = 0] = octets;
      groups.push((a << 8) | b, (c << 8) | d);
    } else {
      if (!GROUP.test(part)) return null;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function bytesOfGroups(groups: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  for (const [index, group] of groups.entries()) {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  }
  return bytes;
}

/** 4 when the bytes are an IPv4-mapped address, which is how this model holds IPv4. */
export function addressFamily(bytes: Uint8Array): AddressFamily {
  return MAPPED_PREFIX.every((byte, index) => bytes[index] === byte) ? 4 : 6;
}

/**
 * Canonical text: dotted IPv4 for the mapped range, RFC 5952 for the rest.
 *
 * @param bytes 16 bytes, network order
 * @throws RangeError when the length is another
 */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length !== ADDRESS_BYTES) throw new RangeError(`an address has 16 bytes, not ${bytes.length}`);
  if (addressFamily(bytes) === 4) return bytes.subarray(12).join('.');
  return formatIp6(bytes);
}

/** RFC 5952 text of 16 bytes, without the special case for IPv4-mapped ones. */
export function formatIp6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0));
  const gap = longestZeroRun(groups);
  if (gap === null) return groups.map(hex).join(':');
  const head = groups.slice(0, gap.start).map(hex).join(':');
  const tail = groups
    .slice(gap.start + gap.length)
    .map(hex)
    .join(':');
  return `${head}::${tail}`;
}

const hex = (group: number) => group.toString(16);

/** RFC 5952 section 4.2: the longest run of two zero groups or more, the first of equals. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } | null {
  let best: { start: number; length: number } | null = null;
  let start = -1;
  for (let i = 0; i <= groups.length; i++) {
    if (groups[i] === 0) {
      if (start === -1) start = i;
      continue;
    }
    if (start !== -1 && i - start >= 2 && i - start > (best?.length ?? 0))
      best = { start, length: i - start };
    start = -1;
  }
  return best;
}

/** The one text form of an address, or null when the text is no address. */
export function canonicalAddress(text: string): string | null {
  const bytes = parseAddress(text);
  return bytes === null ? null : formatAddress(bytes);
}

/**
 * True for an address that other hosts can reach: not unspecified, loopback, link-local or multicast. Nor ::/96, where
 * the meshes put the ::6 that marks a sidecar's own way to the application.
 */
export function isGlobalAddress(bytes: Uint8Array): boolean {
  const family = addressFamily(bytes);
  const [b0 = 0, b1 = 0] = family === 4 ? bytes.subarray(12) : bytes;
  if (family === 4) return b0 !== 0 && b0 !== 127 && b0 < 224 && !(b0 === 169 && b1 === 254);
  const linkLocal = b0 === 0xfe && (b1 & 0xc0) === 0x80;
  return b0 !== 0xff && !linkLocal && bytes.subarray(0, 12).some((byte) => byte !== 0);
}
