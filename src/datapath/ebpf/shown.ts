/**
 * Addresses as people write them. libbpf-ts decodes any map by its BTF; that a `struct addr` is an address of
 * bpf/layout.h is ours to know.
 */
import { BpfError, type Codec, type CodecsByType } from 'libbpf-ts';
import { formatAddress, parseAddress } from '../../policy/address.ts';

const ADDRESS_BYTES = 16;

/** 16 bytes in network order as text: `10.0.0.1`, `fd00::1`; the reverse takes 32 hex digits, too. */
const address: Codec<unknown> = {
  size: ADDRESS_BYTES,
  read(view, offset) {
    // Without the way through an array of bytes, which took most of a dump of 100,000 entries.
    const isMapped = view.getBigUint64(offset) === 0n && view.getUint32(offset + 8) === 0xffff;
    if (isMapped) {
      const word = view.getUint32(offset + 12);
      return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
    }
    return formatAddress(new Uint8Array(view.buffer, view.byteOffset + offset, ADDRESS_BYTES));
  },
  write(view, offset, value) {
    const text = String(value);
    const bytes = /^[0-9a-f]{32}$/i.test(text) ? Buffer.from(text, 'hex') : parseAddress(text);
    if (bytes === null)
      throw new BpfError({ code: 'BAD_VALUE', op: 'encode', detail: `'${text}' is not an IP address` });
    new Uint8Array(view.buffer, view.byteOffset + offset, ADDRESS_BYTES).set(bytes);
  },
};

/** How types of bpf/layout.h are shown that are no plain objects. */
export const SHOWN_TYPES: CodecsByType = { 'struct addr': address };
