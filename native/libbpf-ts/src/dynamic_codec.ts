import { type Codec, codec } from './codec.ts';
import { badValue } from './errors.ts';
import type { EnumShape, Field, Shape, StructShape } from './shape.ts';

/*
 * Values of types that are known only at run time, in a form that prints well: bytes as hex, enums by name, flags
 * as 'A|B'. Writing takes the same, and is lenient with numbers given as text.
 */

/** Codecs by the C names of types, in place of those that their shapes give: `struct addr` as text, say. */
export type CodecsByType = Readonly<Record<string, Codec<unknown>>>;

/**
 * A codec for a shape. Reading never fails on a value it does not know; writing checks.
 *
 * @param own those of another size than the type's are passed over: the kernel's BTF may be of another version
 */
export function dynamicCodec(shape: Shape, own: CodecsByType = {}): Codec<unknown> {
  const chosen = 'cName' in shape ? own[shape.cName] : undefined;
  if (chosen?.size === shape.size) return chosen;
  switch (shape.kind) {
    case 'scalar':
      return shape.codec === 'bool' ? boolCodec : numberCodec(codec[shape.codec] as Codec<number | bigint>);
    case 'bits':
      return numberCodec(codec.bits(codec[shape.unit] as Codec<number>, shape.shift, shape.width));
    case 'bytes':
      return hexCodec(shape.size);
    case 'chars':
      return textCodec(shape.size);
    case 'array':
      return arrayCodec(dynamicCodec(shape.item, own), shape.length);
    case 'enum':
      return enumCodec(shape);
    case 'struct':
      return structCodec(shape, own);
  }
}

const boolCodec: Codec<unknown> = {
  size: 1,
  read: codec.bool.read,
  write: (v, o, x) => codec.bool.write(v, o, x === true || x === 'true' || x === 1 || x === '1'),
};

function numberCodec(inner: Codec<number | bigint>): Codec<unknown> {
  const wide = typeof inner.read(new DataView(new ArrayBuffer(8)), 0) === 'bigint';
  return {
    size: inner.size,
    read: inner.read,
    write(v, o, x) {
      const value = toBigInt(x);
      inner.write(v, o, wide ? value : Number(value));
    },
  };
}

function toBigInt(value: unknown): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' || typeof value === 'string') {
    try {
      return BigInt(value);
    } catch {
      // the error below says more than BigInt's own
    }
  }
  throw badValue(`${String(value)} is not a whole number`);
}

/** Hex digits, two a byte, with an optional 0x and any of `:`, `-`, `.` or blanks between. */
export function hexCodec(size: number): Codec<unknown> {
  return {
    size,
    read: (v, o) => Buffer.from(v.buffer, v.byteOffset + o, size).toString('hex'),
    write(v, o, x) {
      const bytes = toBytes(x);
      if (bytes.length !== size) throw badValue(`${bytes.length} bytes where ${size} are needed`);
      new Uint8Array(v.buffer, v.byteOffset + o, size).set(bytes);
    },
  };
}

function toBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return Uint8Array.from(value, (item: unknown) => Number(item));
  const digits = String(value)
    .replace(/^0x/, '')
    .replace(/[\s:.-]/g, '');
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw badValue(`'${String(value)}' is not bytes in hex`);
  return Buffer.from(digits, 'hex');
}

function textCodec(size: number): Codec<unknown> {
  const inner = codec.chars(size);
  return { size, read: inner.read, write: (v, o, x) => inner.write(v, o, String(x)) };
}

function arrayCodec(item: Codec<unknown>, length: number): Codec<unknown> {
  const inner = codec.array(item, length);
  return {
    size: inner.size,
    read: inner.read,
    write(v, o, x) {
      if (!Array.isArray(x)) throw badValue(`${String(x)} is not an array`);
      inner.write(v, o, x);
    },
  };
}

function enumCodec(shape: EnumShape): Codec<unknown> {
  const storage = codec[shape.storage] as Codec<number | bigint>;
  const bitsOf = (x: unknown): bigint => {
    const member = shape.members.find(({ name }) => name === x);
    return member === undefined ? toBigInt(x) : member.value;
  };
  return {
    size: shape.size,
    read(v, o) {
      const value = BigInt(storage.read(v, o));
      if (shape.flags) return flagNames(shape, value);
      return shape.members.find((member) => member.value === value)?.name ?? storage.read(v, o);
    },
    write(v, o, x) {
      const value =
        shape.flags && typeof x === 'string'
          ? x.split('|').reduce((bits, name) => bits | bitsOf(name.trim()), 0n)
          : bitsOf(x);
      storage.write(v, o, shape.size === 8 ? value : Number(value));
    },
  };
}

function flagNames(shape: EnumShape, value: bigint): string {
  const set = shape.members.filter(
    (member) => member.value !== 0n && (value & member.value) === member.value,
  );
  const rest = set.reduce((bits, member) => bits & ~member.value, value);
  const names = set.map(({ name }) => name);
  if (rest !== 0n) names.push(`0x${rest.toString(16)}`);
  return names.length === 0 ? '0' : names.join('|');
}

function structCodec(shape: StructShape, own: CodecsByType): Codec<unknown> {
  const fields = shape.fields.map((field) => ({ ...field, codec: dynamicCodec(field.shape, own) }));
  const shown = fields.filter(({ pad }) => !pad);
  return {
    size: shape.size,
    read(v, o) {
      const value: Record<string, unknown> = {};
      for (const { name, offset, codec: inner } of shown) value[name] = inner.read(v, o + offset);
      return value;
    },
    write(v, o, x) {
      codec.zero(v, o, shape.size);
      const value = membersOf(x, shape.fields);
      for (const name of Object.keys(value)) {
        if (!fields.some((field) => field.name === name)) throw badValue(`no member ${name}`);
      }
      for (const { name, offset, pad, overlaps, codec: inner } of fields) {
        const member = value[name];
        if (member !== undefined) inner.write(v, o + offset, member);
        else if (!pad && !overlaps) throw badValue(`member ${name} is missing`);
      }
    },
  };
}

/** The members of a struct; a struct of one member may be given as that member alone. */
function membersOf(value: unknown, fields: readonly Field[]): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value));
  }
  const [only, ...others] = fields.filter(({ pad }) => !pad);
  if (only === undefined || others.length > 0) {
    throw badValue(`${String(value)} is not an object with ${fields.map(({ name }) => name).join(', ')}`);
  }
  return { [only.name]: value };
}
