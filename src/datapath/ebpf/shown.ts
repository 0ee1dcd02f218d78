/**
 * Addresses as people write them. libbpf-ts decodes any map by its BTF; that a `struct addr` is an address of
 * bpf/layout.h is ours to know.
 */
import { formatAddress, parseAddress } from '../../policy/address.ts';

/** `struct addr { __u8 bytes[16]; }` as decoded: its bytes as 32 hex digits. */
interface HexAddress {
  bytes: string;
}

export function hasAddress(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return isAddress(value) || Object.values(value).some(hasAddress);
}

/** The value with every `struct addr` in it as text: `10.0.0.1`, `fd00::1`. */
export function showAddresses(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (isAddress(value)) return addressOfHex(value.bytes);
  if (Array.isArray(value)) return value.map(showAddresses);
  const shown: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) shown[name] = showAddresses(field);
  return shown;
}

const MAPPED_PREFIX = '00000000000000000000ffff';

/** IPv4 without the way through bytes, which was a quarter of a dump of 100,000 entries. */
function addressOfHex(hex: string): string {
  if (!hex.startsWith(MAPPED_PREFIX)) return formatAddress(new Uint8Array(Buffer.from(hex, 'hex')));
  const word = Number.parseInt(hex.slice(MAPPED_PREFIX.length), 16);
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

/**
 * The reverse: text becomes a `struct addr` where the sample has one. What is no address stays, for the map's own
 * codec to refuse.
 *
 * @param sample any decoded value of the same type
 */
export function hideAddresses(value: unknown, sample: unknown): unknown {
  if (typeof sample !== 'object' || sample === null) return value;
  if (isAddress(sample)) {
    const bytes = typeof value === 'string' ? parseAddress(value) : null;
    return bytes === null ? value : { bytes: Buffer.from(bytes).toString('hex') };
  }
  if (!isObject(value) || !isObject(sample)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, hideAddresses(field, sample[name])]),
  );
}

function isAddress(value: object): value is HexAddress {
  return (
    'bytes' in value &&
    typeof value.bytes === 'string' &&
    value.bytes.length === 32 &&
    Object.keys(value).length === 1
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
