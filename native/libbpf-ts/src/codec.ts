import { badValue } from './errors.ts';
import { LITTLE_ENDIAN } from './uapi.ts';

/**
 * How one C type is read from and written to memory. Numbers of up to 32 bits are `number`, 64 bits `bigint`;
 * all in the byte order of the machine except the `be` ones, which are network order in memory and host order
 * as values.
 */
export interface Codec<T> {
  /** sizeof, in bytes. */
  readonly size: number;
  read(view: DataView, offset: number): T;
  /** @throws BpfError BAD_VALUE when the value does not fit the type */
  write(view: DataView, offset: number, value: T): void;
}

/** The value type of a codec. */
export type CodecValue<C> = C extends Codec<infer T> ? T : never;

const LE = LITTLE_ENDIAN;

function whole(value: number, min: number, max: number, type: string): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw badValue(`${String(value)} is not a ${type} (whole, ${min}..${max})`);
  }
  return value;
}

function wide(value: bigint, min: bigint, max: bigint, type: string): bigint {
  if (typeof value !== 'bigint' || value < min || value > max) {
    throw badValue(`${String(value)} is not a ${type} (a bigint, ${min}..${max})`);
  }
  return value;
}

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const I64_MIN = -0x8000_0000_0000_0000n;
const I64_MAX = 0x7fff_ffff_ffff_ffffn;

const u8: Codec<number> = {
  size: 1,
  read: (v, o) => v.getUint8(o),
  write: (v, o, x) => v.setUint8(o, whole(x, 0, 0xff, 'u8')),
};
const i8: Codec<number> = {
  size: 1,
  read: (v, o) => v.getInt8(o),
  write: (v, o, x) => v.setInt8(o, whole(x, -0x80, 0x7f, 'i8')),
};
const u16: Codec<number> = {
  size: 2,
  read: (v, o) => v.getUint16(o, LE),
  write: (v, o, x) => v.setUint16(o, whole(x, 0, 0xffff, 'u16'), LE),
};
const i16: Codec<number> = {
  size: 2,
  read: (v, o) => v.getInt16(o, LE),
  write: (v, o, x) => v.setInt16(o, whole(x, -0x8000, 0x7fff, 'i16'), LE),
};
const u32: Codec<number> = {
  size: 4,
  read: (v, o) => v.getUint32(o, LE),
  write: (v, o, x) => v.setUint32(o, whole(x, 0, 0xffff_ffff, 'u32'), LE),
};
const i32: Codec<number> = {
  size: 4,
  read: (v, o) => v.getInt32(o, LE),
  write: (v, o, x) => v.setInt32(o, whole(x, -0x8000_0000, 0x7fff_ffff, 'i32'), LE),
};
const u64: Codec<bigint> = {
  size: 8,
  read: (v, o) => v.getBigUint64(o, LE),
  write: (v, o, x) => v.setBigUint64(o, wide(x, 0n, U64_MAX, 'u64'), LE),
};
const i64: Codec<bigint> = {
  size: 8,
  read: (v, o) => v.getBigInt64(o, LE),
  write: (v, o, x) => v.setBigInt64(o, wide(x, I64_MIN, I64_MAX, 'i64'), LE),
};
const be16: Codec<number> = {
  size: 2,
  read: (v, o) => v.getUint16(o, false),
  write: (v, o, x) => v.setUint16(o, whole(x, 0, 0xffff, '__be16'), false),
};
const be32: Codec<number> = {
  size: 4,
  read: (v, o) => v.getUint32(o, false),
  write: (v, o, x) => v.setUint32(o, whole(x, 0, 0xffff_ffff, '__be32'), false),
};
const be64: Codec<bigint> = {
  size: 8,
  read: (v, o) => v.getBigUint64(o, false),
  write: (v, o, x) => v.setBigUint64(o, wide(x, 0n, U64_MAX, '__be64'), false),
};
const bool: Codec<boolean> = {
  size: 1,
  read: (v, o) => v.getUint8(o) !== 0,
  write: (v, o, x) => v.setUint8(o, x ? 1 : 0),
};
const f32: Codec<number> = {
  size: 4,
  read: (v, o) => v.getFloat32(o, LE),
  write: (v, o, x) => v.setFloat32(o, x, LE),
};
const f64: Codec<number> = {
  size: 8,
  read: (v, o) => v.getFloat64(o, LE),
  write: (v, o, x) => v.setFloat64(o, x, LE),
};

/** `__u8[length]`. Reads a copy; writes exactly `length` bytes. */
function bytes(length: number): Codec<Uint8Array> {
  return {
    size: length,
    read: (v, o) => new Uint8Array(v.buffer as ArrayBuffer, v.byteOffset + o, length).slice(),
    write(v, o, x) {
      if (x.length !== length) throw badValue(`${x.length} bytes where ${length} are needed`);
      new Uint8Array(v.buffer, v.byteOffset + o, length).set(x);
    },
  };
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** `char[length]`: UTF-8 up to the first NUL. Writing leaves room for one. */
function chars(length: number): Codec<string> {
  return {
    size: length,
    read(v, o) {
      const all = new Uint8Array(v.buffer, v.byteOffset + o, length);
      const end = all.indexOf(0);
      return decoder.decode(end < 0 ? all : all.subarray(0, end));
    },
    write(v, o, x) {
      const text = encoder.encode(x);
      if (text.length >= length)
        throw badValue(`'${x}' is longer than the ${length - 1} bytes of char[${length}]`);
      if (text.includes(0)) throw badValue('a NUL inside a C string');
      const all = new Uint8Array(v.buffer, v.byteOffset + o, length);
      all.fill(0, text.length);
      all.set(text);
    },
  };
}

/** `T[length]`. A shorter array is filled up with zero bytes. */
function array<T>(item: Codec<T>, length: number): Codec<T[]> {
  const { size } = item;
  return {
    size: size * length,
    read(v, o) {
      const values: T[] = [];
      for (let i = 0; i < length; i++) values.push(item.read(v, o + i * size));
      return values;
    },
    write(v, o, x) {
      if (x.length > length) throw badValue(`${x.length} elements where ${length} fit`);
      x.forEach((value, i) => {
        item.write(v, o + i * size, value);
      });
      const rest = x.length * size;
      new Uint8Array(v.buffer, v.byteOffset + o + rest, size * length - rest).fill(0);
    },
  };
}

/**
 * An enum as the union of its enumerators' names.
 * @param members enumerator -> value; of two with one value the first is read
 * @param storage the integer it is stored as, u32 in most programs
 */
function enumeration<const M extends Record<string, number>>(
  members: M,
  storage: Codec<number> = u32,
): Codec<keyof M & string> {
  const names = new Map<number, keyof M & string>();
  for (const [name, value] of Object.entries(members)) if (!names.has(value)) names.set(value, name);
  return {
    size: storage.size,
    read(v, o) {
      const value = storage.read(v, o);
      const name = names.get(value);
      if (name === undefined) throw badValue(`${value} is none of ${Object.keys(members).join(', ')}`);
      return name;
    },
    write(v, o, x) {
      const value = members[x];
      if (value === undefined) throw badValue(`'${x}' is none of ${Object.keys(members).join(', ')}`);
      storage.write(v, o, value);
    },
  };
}

/** The same for an enum of 64 bits. */
function enumeration64<const M extends Record<string, bigint>>(
  members: M,
  storage: Codec<bigint> = u64,
): Codec<keyof M & string> {
  const names = new Map(Object.entries(members).map(([name, value]) => [value, name as keyof M & string]));
  return {
    size: 8,
    read(v, o) {
      const name = names.get(storage.read(v, o));
      if (name === undefined)
        throw badValue(`${storage.read(v, o)} is none of ${Object.keys(members).join(', ')}`);
      return name;
    },
    write(v, o, x) {
      const value = members[x];
      if (value === undefined) throw badValue(`'${x}' is none of ${Object.keys(members).join(', ')}`);
      storage.write(v, o, value);
    },
  };
}

/**
 * A bit-field inside a storage unit of up to 32 bits.
 * @param shift its lowest bit, counted from the unit's least significant
 */
function bits(unit: Codec<number>, shift: number, width: number): Codec<number> {
  const mask = 2 ** width - 1;
  return {
    size: unit.size,
    read: (v, o) => Math.floor(unit.read(v, o) / 2 ** shift) % 2 ** width,
    write(v, o, x) {
      whole(x, 0, mask, `${width}-bit field`);
      const old = unit.read(v, o);
      const field = Math.floor(old / 2 ** shift) % 2 ** width;
      unit.write(v, o, old + (x - field) * 2 ** shift);
    },
  };
}

/** A part of a struct or union: where it lies and what it is. */
type Fields<T> = { readonly [K in keyof T]-?: readonly [offset: number, codec: Codec<NonNullable<T[K]>>] };

/**
 * A struct by its fields, for codecs written by hand. Generated ones are straight code instead.
 * Bytes between the fields are written as zero: the kernel compares keys with their padding.
 */
function struct<T extends object>(size: number, fields: Fields<T>): Codec<T> {
  // The mapped type above ties each codec to its field; a loop over the fields cannot express that.
  const entries = Object.entries(fields) as [keyof T, readonly [number, Codec<unknown>]][];
  return {
    size,
    read: (v, o) =>
      Object.fromEntries(entries.map(([name, [offset, field]]) => [name, field.read(v, o + offset)])) as T,
    write(v, o, x) {
      zero(v, o, size);
      for (const [name, [offset, field]] of entries) {
        if (x[name] !== undefined) field.write(v, o + offset, x[name]);
      }
    },
  };
}

/** Clears `length` bytes, so that padding is always zero. */
function zero(view: DataView, offset: number, length: number): void {
  new Uint8Array(view.buffer, view.byteOffset + offset, length).fill(0);
}

/**
 * Codecs for C types, and the makers of composed ones.
 *
 * @example const key = codec.struct<{ ip: number; port: number }>(8, { ip: [0, codec.be32], port: [4, codec.u16] });
 */
export const codec = {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  u64,
  i64,
  be16,
  be32,
  be64,
  bool,
  f32,
  f64,
  bytes,
  chars,
  array,
  enumeration,
  enumeration64,
  bits,
  struct,
  zero,
} as const;

/** The bytes of one value. */
export function encodeValue<T>(type: Codec<T>, value: T): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(type.size);
  type.write(new DataView(out.buffer), 0, value);
  return out;
}

/** A value from bytes that hold at least one. */
export function decodeValue<T>(type: Codec<T>, from: Uint8Array): T {
  if (from.length < type.size) throw badValue(`${from.length} bytes where ${type.size} are needed`);
  return type.read(new DataView(from.buffer, from.byteOffset, from.byteLength), 0);
}
