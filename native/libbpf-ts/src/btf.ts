import { closeSync } from 'node:fs';
import { type Codec, encodeValue } from './codec.ts';
import { dynamicCodec } from './dynamic_codec.ts';
import { BpfError, errnoError } from './errors.ts';
import { addressOf, libbpf } from './ffi.ts';
import { Shapes } from './shape.ts';
import { LITTLE_ENDIAN } from './uapi.ts';

const MAGIC = 0xeb9f;

export const BTF_KINDS = [
  'void',
  'int',
  'ptr',
  'array',
  'struct',
  'union',
  'enum',
  'fwd',
  'typedef',
  'volatile',
  'const',
  'restrict',
  'func',
  'func_proto',
  'var',
  'datasec',
  'float',
  'decl_tag',
  'type_tag',
  'enum64',
] as const;

export type BtfKind = (typeof BTF_KINDS)[number];

export interface BtfMember {
  name: string;
  type: number;
  bitOffset: number;
  /** 0 unless it is a bit-field. */
  bitSize: number;
}

interface Base {
  id: number;
  name: string;
}

/** One type of a BTF blob; references are type ids. */
export type BtfType = Base &
  (
    | { kind: 'void' }
    | { kind: 'int'; size: number; signed: boolean; bool: boolean; bitOffset: number; bits: number }
    | { kind: 'float'; size: number }
    | { kind: 'ptr' | 'typedef' | 'volatile' | 'const' | 'restrict' | 'type_tag'; type: number }
    | { kind: 'func'; type: number; linkage: number }
    | { kind: 'array'; type: number; length: number }
    | { kind: 'struct' | 'union'; size: number; members: BtfMember[] }
    | { kind: 'enum' | 'enum64'; size: number; signed: boolean; values: { name: string; value: bigint }[] }
    | { kind: 'fwd'; union: boolean }
    | { kind: 'func_proto'; type: number; params: { name: string; type: number }[] }
    | { kind: 'var'; type: number; linkage: number }
    | { kind: 'datasec'; size: number; vars: { type: number; offset: number; size: number }[] }
    | { kind: 'decl_tag'; type: number; component: number }
  );

type OfKind<T, K> = T extends { kind: infer N }
  ? [N & K] extends [never]
    ? never
    : T & { kind: N & K }
  : never;

/** A type of one kind, or of several. */
export type BtfOf<K extends BtfKind> = OfKind<BtfType, K>;

const POINTER_BYTES = 8;

function badBtf(detail: string): BpfError {
  return new BpfError({ code: 'BAD_VALUE', op: 'parse BTF', detail });
}

/** The type information of an object file or of something loaded, read without libbpf. */
export class Btf {
  readonly #types: readonly BtfType[];
  #shapes: Shapes | undefined;

  private constructor(types: readonly BtfType[]) {
    this.#types = types;
  }

  /**
   * @param bytes a .BTF section or the kernel's raw BTF, in this machine's byte order
   * @throws BpfError BAD_VALUE when it is not BTF or is cut short
   */
  static parse(bytes: Uint8Array): Btf {
    try {
      return new Btf(parseTypes(bytes));
    } catch (error) {
      if (error instanceof RangeError) throw badBtf('it ends too early');
      throw error;
    }
  }

  /** Reads the BTF of a loaded map or program. @param id `btfId` of its info */
  static fromKernel(id: number): Btf {
    const fd = libbpf.bpf_btf_get_fd_by_id(id);
    if (fd < 0) throw errnoError(fd, 'open by id', `BTF ${id}`);
    try {
      return Btf.parse(readKernelBtf(fd, id));
    } finally {
      closeSync(fd);
    }
  }

  get types(): readonly BtfType[] {
    return this.#types;
  }

  /** @throws BpfError BAD_VALUE for an id that is not in it */
  type(id: number): BtfType {
    const type = this.#types[id];
    if (type === undefined) throw badBtf(`type ${id} of ${this.#types.length}`);
    return type;
  }

  /** The first type of that name, of that kind if one is given. */
  find(name: string): BtfType | undefined;
  find<K extends BtfKind>(name: string, kind: K): BtfOf<K> | undefined;
  find(name: string, kind?: BtfKind): BtfType | undefined {
    return this.#types.find((type) => type.name === name && (kind === undefined || type.kind === kind));
  }

  /** The type behind typedefs and qualifiers. */
  resolve(id: number): BtfType {
    let type = this.type(id);
    for (let depth = 0; depth < 32; depth++) {
      if (!isAlias(type)) return type;
      type = this.type(type.type);
    }
    throw badBtf(`type ${id} is a loop of aliases`);
  }

  /** Names of the typedefs passed on the way to the type, outermost first. */
  typedefs(id: number): string[] {
    const names: string[] = [];
    for (let type = this.type(id); isAlias(type); type = this.type(type.type)) {
      if (type.kind === 'typedef') names.push(type.name);
      if (names.length > 32) throw badBtf(`type ${id} is a loop of typedefs`);
    }
    return names;
  }

  /** Whether a qualifier stands before the type, through typedefs. */
  isVolatile(id: number): boolean {
    for (
      let type = this.type(id), depth = 0;
      isAlias(type) && depth < 32;
      type = this.type(type.type), depth++
    ) {
      if (type.kind === 'volatile') return true;
    }
    return false;
  }

  /**
   * A value as plain data: numbers, bigints for 64 bits, strings, arrays, objects; bytes as hex, enums by name.
   * @param offset in bytes from the start of `view`
   */
  decode(id: number, view: DataView, offset = 0): unknown {
    return this.#codec(id).read(view, offset);
  }

  /** The bytes of a value in the form that {@link decode} gives. @throws BpfError BAD_VALUE when it does not fit */
  encode(id: number, value: unknown): Uint8Array {
    return encodeValue(this.#codec(id), value);
  }

  #codec(id: number): Codec<unknown> {
    this.#shapes ??= new Shapes(this);
    return dynamicCodec(this.#shapes.of(id));
  }

  /** sizeof, in bytes. */
  sizeOf(id: number): number {
    const type = this.resolve(id);
    switch (type.kind) {
      case 'ptr':
        return POINTER_BYTES;
      case 'array':
        return type.length * this.sizeOf(type.type);
      case 'int':
      case 'float':
      case 'struct':
      case 'union':
      case 'enum':
      case 'enum64':
      case 'datasec':
        return type.size;
      default:
        throw badBtf(`${type.kind} ${type.name} has no size`);
    }
  }
}

type Alias = BtfOf<'typedef' | 'volatile' | 'const' | 'restrict' | 'type_tag' | 'ptr'>;

function isAlias(type: BtfType): type is Alias {
  switch (type.kind) {
    case 'typedef':
    case 'volatile':
    case 'const':
    case 'restrict':
    case 'type_tag':
      return true;
    default:
      return false;
  }
}

function parseTypes(bytes: Uint8Array): BtfType[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0, LITTLE_ENDIAN) !== MAGIC) throw badBtf('no BTF magic in this byte order');
  const u32 = (offset: number): number => view.getUint32(offset, LITTLE_ENDIAN);
  const header = u32(4);
  const typesStart = header + u32(8);
  const typesEnd = typesStart + u32(12);
  const strings = header + u32(16);
  const stringsEnd = strings + u32(20);
  const text = (offset: number): string => {
    const start = strings + offset;
    const end = bytes.indexOf(0, start);
    if (start >= stringsEnd || end < 0) throw badBtf(`string at ${offset}`);
    return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
  };
  const types: BtfType[] = [{ id: 0, name: 'void', kind: 'void' }];
  let at = typesStart;
  while (at < typesEnd) {
    const { type, length } = parseType(types.length, at, u32, text);
    types.push(type);
    at += length;
  }
  return types;
}

/** One `struct btf_type` and what follows it. */
function parseType(
  id: number,
  at: number,
  u32: (offset: number) => number,
  text: (offset: number) => string,
): { type: BtfType; length: number } {
  const info = u32(at + 4);
  const kind = BTF_KINDS[(info >>> 24) & 0x1f];
  const flag = info >>> 31 === 1;
  const count = info & 0xffff;
  const sizeOrType = u32(at + 8);
  const base = { id, name: text(u32(at)) };
  const rows = <T>(stride: number, read: (offset: number) => T): { list: T[]; length: number } => ({
    list: Array.from({ length: count }, (_, i) => read(at + 12 + i * stride)),
    length: 12 + count * stride,
  });
  switch (kind) {
    case 'int': {
      const encoding = u32(at + 12);
      const flags = (encoding >>> 24) & 0xf;
      return {
        type: {
          ...base,
          kind,
          size: sizeOrType,
          signed: (flags & 1) !== 0,
          bool: (flags & 4) !== 0,
          bitOffset: (encoding >>> 16) & 0xff,
          bits: encoding & 0xff,
        },
        length: 16,
      };
    }
    case 'float':
      return { type: { ...base, kind, size: sizeOrType }, length: 12 };
    case 'ptr':
    case 'typedef':
    case 'volatile':
    case 'const':
    case 'restrict':
    case 'type_tag':
      return { type: { ...base, kind, type: sizeOrType }, length: 12 };
    case 'func':
      return { type: { ...base, kind, type: sizeOrType, linkage: count }, length: 12 };
    case 'fwd':
      return { type: { ...base, kind, union: flag }, length: 12 };
    case 'array':
      return { type: { ...base, kind, type: u32(at + 12), length: u32(at + 20) }, length: 24 };
    case 'struct':
    case 'union': {
      const { list, length } = rows(12, (offset) => {
        const place = u32(offset + 8);
        return {
          name: text(u32(offset)),
          type: u32(offset + 4),
          bitOffset: flag ? place & 0xff_ffff : place,
          bitSize: flag ? place >>> 24 : 0,
        };
      });
      return { type: { ...base, kind, size: sizeOrType, members: list }, length };
    }
    case 'enum': {
      const { list, length } = rows(8, (offset) => ({ name: text(u32(offset)), raw: u32(offset + 4) }));
      // Compilers before clang 16 do not set the flag: an enum with a value beyond INT_MAX is taken as signed by C.
      const signed = flag || list.some(({ raw }) => raw > 0x7fff_ffff);
      const values = list.map(({ name, raw }) => ({ name, value: BigInt(signed ? raw | 0 : raw) }));
      return { type: { ...base, kind, size: sizeOrType, signed, values }, length };
    }
    case 'enum64': {
      const { list, length } = rows(12, (offset) => ({
        name: text(u32(offset)),
        raw: BigInt(u32(offset + 4)) | (BigInt(u32(offset + 8)) << 32n),
      }));
      const values = list.map(({ name, raw }) => ({ name, value: flag ? BigInt.asIntN(64, raw) : raw }));
      return { type: { ...base, kind, size: sizeOrType, signed: flag, values }, length };
    }
    case 'func_proto': {
      const { list, length } = rows(8, (offset) => ({ name: text(u32(offset)), type: u32(offset + 4) }));
      return { type: { ...base, kind, type: sizeOrType, params: list }, length };
    }
    case 'var':
      return { type: { ...base, kind, type: sizeOrType, linkage: u32(at + 12) }, length: 16 };
    case 'datasec': {
      const { list, length } = rows(12, (offset) => ({
        type: u32(offset),
        offset: u32(offset + 4),
        size: u32(offset + 8),
      }));
      return { type: { ...base, kind, size: sizeOrType, vars: list }, length };
    }
    case 'decl_tag':
      return { type: { ...base, kind, type: sizeOrType, component: u32(at + 12) }, length: 16 };
    default:
      throw badBtf(`type ${id} has the unknown kind ${(info >>> 24) & 0x1f}`);
  }
}

/** `struct bpf_btf_info` takes two calls: the first tells the size. */
function readKernelBtf(fd: number, id: number): Uint8Array {
  const info = new DataView(new ArrayBuffer(32));
  const length = new Uint32Array([info.byteLength]);
  let result = libbpf.bpf_obj_get_info_by_fd(fd, info, length);
  if (result < 0) throw errnoError(result, 'read info of', `BTF ${id}`);
  const bytes = new Uint8Array(info.getUint32(8, LITTLE_ENDIAN));
  const again = new DataView(new ArrayBuffer(32));
  again.setBigUint64(0, addressOf(bytes), LITTLE_ENDIAN);
  again.setUint32(8, bytes.length, LITTLE_ENDIAN);
  length[0] = again.byteLength;
  result = libbpf.bpf_obj_get_info_by_fd(fd, again, length);
  if (result < 0) throw errnoError(result, 'read', `BTF ${id}`);
  return bytes;
}
