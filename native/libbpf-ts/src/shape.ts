import type { Btf, BtfMember, BtfOf, BtfType } from './btf.ts';
import { badValue } from './errors.ts';
import { LITTLE_ENDIAN } from './uapi.ts';

/*
 * How a C type is to be read, worked out once from BTF. The generator prints shapes as code, the inspector runs
 * them, so both see a map alike.
 */

/** Codecs of fixed size, by their name in `codec`. */
export type Scalar =
  | 'u8'
  | 'i8'
  | 'u16'
  | 'i16'
  | 'u32'
  | 'i32'
  | 'u64'
  | 'i64'
  | 'be16'
  | 'be32'
  | 'be64'
  | 'bool'
  | 'f32'
  | 'f64';

export interface EnumShape {
  kind: 'enum';
  size: number;
  id: number;
  /** Undefined when anonymous. */
  name: string | undefined;
  /** As C writes it: 'enum verdict', or a typedef's name. */
  cName: string;
  storage: Scalar;
  /** Members are bits to be combined: the enum's name ends in `_flags`. */
  flags: boolean;
  members: readonly { name: string; value: bigint }[];
}

export interface Field {
  name: string;
  /** Bytes from the start of the struct. */
  offset: number;
  shape: Shape;
  /** Padding by its name: written as zero unless given, never read. */
  pad: boolean;
  /** Shares its place with others: any of them may be given. */
  overlaps: boolean;
  /** The C type, for people. */
  cType: string;
}

export interface StructShape {
  kind: 'struct';
  size: number;
  id: number;
  name: string | undefined;
  cName: string;
  union: boolean;
  fields: readonly Field[];
}

export type Shape =
  | { kind: 'scalar'; size: number; codec: Scalar }
  | { kind: 'bits'; size: number; unit: Scalar; shift: number; width: number }
  | { kind: 'bytes'; size: number }
  | { kind: 'chars'; size: number }
  | { kind: 'array'; size: number; item: Shape; length: number }
  | EnumShape
  | StructShape;

const BIG_ENDIAN_TYPEDEFS: Readonly<Record<string, Scalar>> = {
  __be16: 'be16',
  __be32: 'be32',
  __be64: 'be64',
};
const PADDING = /^_*(pad|padding|reserved|unused)\d*$/;

/** Shapes of the types of one BTF. */
export class Shapes {
  readonly #btf: Btf;
  readonly #known = new Map<number, Shape>();

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  /** @throws BpfError BAD_VALUE for types without a size: functions, forward declarations */
  of(id: number): Shape {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const shape = this.#make(id);
    this.#known.set(id, shape);
    return shape;
  }

  #make(id: number): Shape {
    const typedefs = this.#btf.typedefs(id);
    for (const name of typedefs) {
      const codec = BIG_ENDIAN_TYPEDEFS[name];
      if (codec !== undefined) return { kind: 'scalar', size: this.#btf.sizeOf(id), codec };
    }
    const type = this.#btf.resolve(id);
    switch (type.kind) {
      case 'int':
        return intShape(type);
      case 'float':
        return type.size === 4 || type.size === 8
          ? { kind: 'scalar', size: type.size, codec: type.size === 4 ? 'f32' : 'f64' }
          : { kind: 'bytes', size: type.size };
      case 'ptr':
        return { kind: 'scalar', size: 8, codec: 'u64' };
      case 'array':
        return this.#array(type);
      case 'enum':
      case 'enum64':
        // Compilers that know no 64-bit enums in BTF (clang before 15) cut their values: the number is all there is.
        if (type.kind === 'enum' && type.size === 8) {
          return { kind: 'scalar', size: 8, codec: type.signed ? 'i64' : 'u64' };
        }
        return enumShape(type, type.name || typedefs.at(-1), nameInC(type, typedefs));
      case 'struct':
      case 'union':
        return {
          kind: 'struct',
          size: type.size,
          id: type.id,
          name: type.name || typedefs.at(-1),
          cName: nameInC(type, typedefs),
          union: type.kind === 'union',
          fields: this.#fields(type, 0, type.kind === 'union'),
        };
      default:
        throw badValue(`${type.kind} ${type.name || type.id} has no value`);
    }
  }

  #array({ type, length }: BtfOf<'array'>): Shape {
    const item = this.#btf.resolve(type);
    const size = length * this.#btf.sizeOf(type);
    if (item.kind === 'int' && item.size === 1 && !item.bool) {
      return { kind: item.name === 'char' ? 'chars' : 'bytes', size };
    }
    return { kind: 'array', size, item: this.of(type), length };
  }

  /** Members, with those of anonymous structs and unions lifted to the place they stand in. */
  #fields(type: BtfOf<'struct' | 'union'>, base: number, overlaps: boolean): Field[] {
    return type.members.flatMap((member): Field[] => {
      const inner = this.#btf.resolve(member.type);
      if (member.name === '' && (inner.kind === 'struct' || inner.kind === 'union')) {
        return this.#fields(inner, base + member.bitOffset / 8, overlaps || inner.kind === 'union');
      }
      if (member.name === '') return []; // an unnamed bit-field is padding
      const { shape, offset } = this.#member(member, type.size);
      const pad = PADDING.test(member.name);
      return [
        { name: member.name, offset: base + offset, shape, pad, overlaps, cType: cType(this.#btf, member) },
      ];
    });
  }

  #member(member: BtfMember, structBytes: number): { shape: Shape; offset: number } {
    if (member.bitSize === 0) return { shape: this.of(member.type), offset: member.bitOffset / 8 };
    const type = this.#btf.resolve(member.type);
    const signed = (type.kind === 'int' || type.kind === 'enum') && type.signed;
    return bitField(member, signed, structBytes);
  }
}

/** The smallest aligned unit of 1, 2 or 4 bytes that holds all bits of the field. */
function bitField(
  { name, bitOffset, bitSize }: BtfMember,
  signed: boolean,
  structBytes: number,
): { shape: Shape; offset: number } {
  for (const [unit, bytes] of [
    ['u8', 1],
    ['u16', 2],
    ['u32', 4],
  ] as const) {
    const offset = Math.floor(bitOffset / (bytes * 8)) * bytes;
    const within = bitOffset - offset * 8;
    if (within + bitSize > bytes * 8 || offset + bytes > structBytes) continue;
    const shift = LITTLE_ENDIAN ? within : bytes * 8 - within - bitSize;
    return { shape: { kind: 'bits', size: bytes, unit, shift, width: bitSize }, offset };
  }
  throw badValue(`bit-field ${name} of ${bitSize} ${signed ? 'signed ' : ''}bits crosses 32 bits`);
}

function intShape({ size, signed, bool }: BtfOf<'int'>): Shape {
  if (bool) return { kind: 'scalar', size, codec: 'bool' };
  switch (size) {
    case 1:
      return { kind: 'scalar', size, codec: signed ? 'i8' : 'u8' };
    case 2:
      return { kind: 'scalar', size, codec: signed ? 'i16' : 'u16' };
    case 4:
      return { kind: 'scalar', size, codec: signed ? 'i32' : 'u32' };
    case 8:
      return { kind: 'scalar', size, codec: signed ? 'i64' : 'u64' };
    default:
      return { kind: 'bytes', size }; // __int128
  }
}

const STORAGE: Readonly<Record<number, readonly [unsigned: Scalar, signed: Scalar]>> = {
  1: ['u8', 'i8'],
  2: ['u16', 'i16'],
  4: ['u32', 'i32'],
  8: ['u64', 'i64'],
};

function nameInC(type: BtfOf<'struct' | 'union' | 'enum' | 'enum64'>, typedefs: readonly string[]): string {
  const keyword = type.kind === 'enum64' ? 'enum' : type.kind;
  return type.name === '' ? (typedefs.at(-1) ?? keyword) : `${keyword} ${type.name}`;
}

function enumShape(type: BtfOf<'enum' | 'enum64'>, name: string | undefined, cName: string): EnumShape {
  const flags = name?.endsWith('_flags') ?? false;
  const storage = STORAGE[type.size]?.[type.signed && !flags ? 1 : 0];
  if (storage === undefined) throw badValue(`enum ${name ?? ''} of ${type.size} bytes`);
  // Bits are never negative, though 1 << 31 is to C.
  const members = flags
    ? type.values.map((member) => ({ ...member, value: BigInt.asUintN(type.size * 8, member.value) }))
    : type.values;
  return { kind: 'enum', size: type.size, id: type.id, name, cName, storage, flags, members };
}

function cType(btf: Btf, member: BtfMember): string {
  const text = typeText(btf, btf.type(member.type));
  return member.bitSize === 0 ? text : `${text} : ${member.bitSize}`;
}

/** A type as C writes it, near enough for a comment. */
export function typeText(btf: Btf, type: BtfType): string {
  switch (type.kind) {
    case 'struct':
    case 'union':
    case 'enum':
      return type.name === '' ? type.kind : `${type.kind} ${type.name}`;
    case 'enum64':
      return `enum ${type.name}`;
    case 'array': {
      const lengths: number[] = [];
      let item: BtfType = type;
      for (; item.kind === 'array'; item = btf.type(item.type)) lengths.push(item.length);
      return `${typeText(btf, item)}${lengths.map((length) => `[${length}]`).join('')}`;
    }
    case 'ptr':
      return `${typeText(btf, btf.type(type.type))} *`;
    case 'const':
    case 'volatile':
    case 'restrict':
    case 'type_tag':
      return typeText(btf, btf.type(type.type));
    case 'func_proto':
      return 'function';
    default:
      return type.name || type.kind;
  }
}
