/**
 * Keys and values of any map for people and scripts, by the BTF that the kernel keeps of the map: addresses as text,
 * flags as names, 64-bit numbers as bigints, padding left out. The same form is read back for `shunt map get`.
 */
import { type Btf, type BtfType, type Codec, codec } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { formatAddress, parseAddress } from '../../policy/address.ts';

/** `write` takes what `read` gives, and what JSON makes of it: decimal strings, and hex for bytes. */
export type ShownCodec = Codec<unknown>;

/** Fields that only fill a struct up. */
const PADDING = /^_*pad\d*$/;
const CHAR = /^(char|signed char)$/;

/**
 * @param btf types of the map
 * @param typeId its key's or value's type
 */
export function shownCodec(btf: Btf, typeId: number): ShownCodec {
  const type = btf.resolve(typeId);
  switch (type.kind) {
    case 'int':
      return intCodec(type.size, type.signed, btf.typedefs(typeId));
    case 'enum':
    case 'enum64':
      return enumCodec(type);
    case 'array':
      return arrayCodec(btf, type.type, type.length);
    case 'struct':
      if (type.name === 'addr' && type.size === 16) return addressCodec;
      return structCodec(btf, type.size, type.members);
    default:
      return bytesCodec(btf.sizeOf(typeId));
  }
}

/** Bytes as hex, for what has no type. */
export function bytesCodec(size: number): ShownCodec {
  const bytes = codec.bytes(size);
  return {
    size,
    read: (view, offset) => `0x${Buffer.from(bytes.read(view, offset)).toString('hex')}`,
    write(view, offset, value) {
      const digits = typeof value === 'string' ? /^0x((?:[0-9a-f]{2})*)$/i.exec(value)?.[1] : undefined;
      if (digits === undefined || digits.length !== size * 2) {
        throw badKey(`${show(value)} is not ${size} hex bytes (0x and ${size * 2} digits)`);
      }
      bytes.write(view, offset, new Uint8Array(Buffer.from(digits, 'hex')));
    },
  };
}

type EnumType = Extract<BtfType, { kind: 'enum' | 'enum64' }>;
type Member = Extract<BtfType, { kind: 'struct' }>['members'][number];

function intCodec(size: number, signed: boolean, typedefs: string[]): ShownCodec {
  const bigEndian = typedefs.some((name) => /^_*be(16|32|64)$/.test(name));
  if (size === 8) {
    const wide = bigEndian ? codec.be64 : signed ? codec.i64 : codec.u64;
    return { size, read: wide.read, write: (view, offset, value) => wide.write(view, offset, toBigint(value, signed)) };
  }
  const narrow = narrowCodec(size, signed, bigEndian);
  if (narrow === undefined) return bytesCodec(size);
  return {
    size,
    read: narrow.read,
    write: (view, offset, value) => narrow.write(view, offset, toNumber(value, size, signed)),
  };
}

function narrowCodec(size: number, signed: boolean, bigEndian: boolean): Codec<number> | undefined {
  if (bigEndian) return size === 2 ? codec.be16 : size === 4 ? codec.be32 : undefined;
  switch (size) {
    case 1:
      return signed ? codec.i8 : codec.u8;
    case 2:
      return signed ? codec.i16 : codec.u16;
    case 4:
      return signed ? codec.i32 : codec.u32;
    default:
      return undefined;
  }
}

function enumCodec(type: EnumType): ShownCodec {
  const raw = intCodec(type.size, type.signed, []);
  return type.name.endsWith('_flags') ? flagsCodec(type, raw) : namesCodec(type, raw);
}

function flagsCodec(type: EnumType, raw: ShownCodec): ShownCodec {
  const bits = type.values.filter(({ value }) => value > 0n);
  return {
    size: raw.size,
    read(view, offset) {
      let rest = BigInt(Number(raw.read(view, offset)));
      const names: string[] = [];
      for (const { name, value } of bits) {
        if ((rest & value) !== value) continue;
        names.push(name);
        rest &= ~value;
      }
      // Bits of a newer version: shown, so that nothing that is set stays hidden.
      return rest === 0n ? names : [...names, `0x${rest.toString(16)}`];
    },
    write(view, offset, value) {
      if (!Array.isArray(value)) return raw.write(view, offset, value);
      let sum = 0n;
      for (const name of value) {
        const bit = bits.find((candidate) => candidate.name === name)?.value;
        if (bit === undefined) throw badKey(`${show(name)} is none of ${bits.map((b) => b.name).join(', ')}`);
        sum |= bit;
      }
      raw.write(view, offset, sum);
    },
  };
}

function namesCodec(type: EnumType, raw: ShownCodec): ShownCodec {
  const names = new Map(type.values.map(({ name, value }) => [value, name]));
  return {
    size: raw.size,
    read(view, offset) {
      const value = raw.read(view, offset);
      return names.get(BigInt(Number(value))) ?? value;
    },
    write(view, offset, value) {
      const named = type.values.find(({ name }) => name === value);
      raw.write(view, offset, named?.value ?? value);
    },
  };
}

function arrayCodec(btf: Btf, itemType: number, length: number): ShownCodec {
  const item = btf.resolve(itemType);
  if (item.kind === 'int' && item.size === 1) return CHAR.test(item.name) ? textCodec(length) : bytesCodec(length);
  const items = codec.array(shownCodec(btf, itemType), length);
  return {
    size: items.size,
    read: items.read,
    write(view, offset, value) {
      if (!Array.isArray(value)) throw badKey(`${show(value)} is not an array`);
      items.write(view, offset, value);
    },
  };
}

function textCodec(length: number): ShownCodec {
  const text = codec.chars(length);
  return {
    size: length,
    read: text.read,
    write(view, offset, value) {
      if (typeof value !== 'string') throw badKey(`${show(value)} is not a string`);
      text.write(view, offset, value);
    },
  };
}

const addressCodec: ShownCodec = {
  size: 16,
  read: (view, offset) => formatAddress(new Uint8Array(view.buffer, view.byteOffset + offset, 16)),
  write(view, offset, value) {
    const bytes = typeof value === 'string' ? parseAddress(value) : null;
    if (bytes === null) throw badKey(`${show(value)} is not an address`);
    new Uint8Array(view.buffer, view.byteOffset + offset, 16).set(bytes);
  },
};

function structCodec(btf: Btf, size: number, members: readonly Member[]): ShownCodec {
  // Bit-fields and unnamed unions stand in none of our maps; such a struct is shown as bytes.
  if (members.some(({ name, bitSize, bitOffset }) => name === '' || bitSize > 0 || bitOffset % 8 > 0)) {
    return bytesCodec(size);
  }
  const fields = members
    .filter(({ name }) => !PADDING.test(name))
    .map(({ name, type, bitOffset }) => ({ name, offset: bitOffset / 8, shown: shownCodec(btf, type) }));
  return {
    size,
    read(view, offset) {
      const value: Record<string, unknown> = {};
      for (const field of fields) value[field.name] = field.shown.read(view, offset + field.offset);
      return value;
    },
    write(view, offset, value) {
      if (!isObject(value)) throw badKey(`${show(value)} is not an object with ${fields.map((f) => f.name).join(', ')}`);
      const unknown = Object.keys(value).find(
        (name) => !PADDING.test(name) && !fields.some((field) => field.name === name),
      );
      if (unknown !== undefined) throw badKey(`there is no field ${unknown}: ${fields.map((f) => f.name).join(', ')}`);
      codec.zero(view, offset, size);
      for (const field of fields) {
        if (!(field.name in value)) throw badKey(`the field ${field.name} is missing`);
        field.shown.write(view, offset + field.offset, value[field.name]);
      }
    },
  };
}

function toBigint(value: unknown, signed: boolean): bigint {
  const range = signed ? '-2^63 to 2^63-1' : '0 to 2^64-1';
  const whole =
    typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))
      ? BigInt(value)
      : typeof value === 'string' && /^(-?\d{1,20}|0x[0-9a-f]{1,16})$/i.test(value)
        ? BigInt(value)
        : undefined;
  const fits = whole !== undefined && (signed ? BigInt.asIntN(64, whole) : BigInt.asUintN(64, whole)) === whole;
  if (!fits) throw badKey(`${show(value)} is not a whole number from ${range}`);
  return whole;
}

function toNumber(value: unknown, size: number, signed: boolean): number {
  const number = Number(toBigint(value, true));
  const span = 2 ** (size * 8);
  const [min, max] = signed ? [-span / 2, span / 2 - 1] : [0, span - 1];
  if (number < min || number > max) throw badKey(`${show(value)} is not from ${min} to ${max}`);
  return number;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'nothing');
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function badKey(detail: string): ShuntError {
  return new ShuntError('SHUNT_E_MAP_KEY', detail);
}
