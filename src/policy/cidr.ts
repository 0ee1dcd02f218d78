import { type AddressFamily, addressFamily, formatAddress, formatIp6, parseAddress } from './address.ts';

/** An address block. Host bits are zero. */
export interface Cidr {
  family: AddressFamily;
  /** 16 bytes, network order; IPv4 as ::ffff:a.b.c.d. */
  bytes: Uint8Array;
  /** Prefix length in the family's own count: 0..32 or 0..128. */
  bits: number;
}

/** One entry of an LPM trie over 16-byte addresses. */
export interface AddressPrefix {
  bytes: Uint8Array;
  /** 0..128. */
  bits: number;
}

const MAPPED_BITS = 96;
const LENGTH = /^(?:0|[1-9][0-9]{0,2})$/;

/**
 * Reads `address/length`. Host bits are cleared, as iptables clears them. The length is required.
 *
 * @returns null when the text is no CIDR
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  if (slash === -1) return null;
  const address = text.slice(0, slash);
  const length = text.slice(slash + 1);
  const bytes = parseAddress(address);
  if (bytes === null || !LENGTH.test(length)) return null;
  // Family is that of the notation: a mapped block is a rule of ip6tables, which IPv4 traffic never meets.
  const family: AddressFamily = address.includes(':') ? 6 : 4;
  const bits = Number(length);
  if (bits > (family === 4 ? 32 : 128)) return null;
  return { family, bytes: maskBytes(bytes, family === 4 ? MAPPED_BITS + bits : bits), bits };
}

function maskBytes(bytes: Uint8Array, bits: number): Uint8Array {
  return bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))));
}

export function formatCidr(cidr: Cidr): string {
  // A mapped block keeps the colon form, so that its text reads back as the same family.
  const address = cidr.family === 4 ? formatAddress(cidr.bytes) : formatIp6(cidr.bytes);
  return `${address}/${cidr.bits}`;
}

/** The one text form of a CIDR, or null when the text is none. */
export function canonicalCidr(text: string): string | null {
  const cidr = parseCidr(text);
  return cidr === null ? null : formatCidr(cidr);
}

/**
 * The trie entries that hold exactly this block's addresses.
 *
 * IPv4 lives inside the 128-bit space, so an IPv6 block that reaches over ::ffff:0:0/96 (`::/0` for one) is split
 * around it: iptables keeps the families apart, and `::/0` says nothing of IPv4. That makes up to 96 entries. A block
 * inside the mapped range makes none, since no packet that IPv6 rules see carries such an address.
 */
export function cidrPrefixes(cidr: Cidr): AddressPrefix[] {
  if (cidr.family === 4) return [{ bytes: cidr.bytes, bits: MAPPED_BITS + cidr.bits }];
  if (addressFamily(cidr.bytes) === 4 && cidr.bits >= MAPPED_BITS) return [];
  const mapped = mappedBase();
  if (!sharesPrefix(cidr.bytes, mapped, cidr.bits)) return [{ bytes: cidr.bytes, bits: cidr.bits }];
  const prefixes: AddressPrefix[] = [];
  for (let bit = cidr.bits; bit < MAPPED_BITS; bit++) {
    const sibling = maskBytes(mapped, bit);
    const octet = bit >> 3;
    sibling[octet] = (sibling[octet] ?? 0) | (~(mapped[octet] ?? 0) & (0x80 >> (bit & 7)) & 0xff);
    prefixes.push({ bytes: sibling, bits: bit + 1 });
  }
  return prefixes;
}

function mappedBase(): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[10] = 0xff;
  bytes[11] = 0xff;
  return bytes;
}

function sharesPrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  const left = maskBytes(a, bits);
  const right = maskBytes(b, bits);
  return left.every((byte, index) => byte === right[index]);
}

/**
 * Whether a packet to this address meets the block.
 *
 * @param address 16 bytes, network order; IPv4 as mapped, and then only IPv4 blocks contain it
 */
export function cidrContains(cidr: Cidr, address: Uint8Array): boolean {
  if (addressFamily(address) !== cidr.family) return false;
  return sharesPrefix(cidr.bytes, address, cidr.family === 4 ? MAPPED_BITS + cidr.bits : cidr.bits);
}

/** True when the block starts at a loopback address (127/8, ::1): what turns Istio's localhost rule off. */
export function isLoopbackCidr(cidr: Cidr): boolean {
  if (cidr.family === 4) return cidr.bytes[12] === 127;
  return formatIp6(cidr.bytes) === '::1';
}

/** Order of lists: IPv4 first, then by address, then the wider block first; what is no CIDR last. */
export function compareCidrs(a: Cidr | null, b: Cidr | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return a.family - b.family || Buffer.compare(a.bytes, b.bytes) || a.bits - b.bits;
}
