// Written by `libbpf-ts gen` from awkward.bpf.o. Do not edit: change the C types and run it again.

import { type Codec, codec, defineObject } from 'libbpf-ts';

const bytes16 = codec.bytes(16);

/** `union address`, 16 bytes. Optional members share their place: all are read, give the one to write. */
export interface Address {
  four?: number; // __be32
  six?: Uint8Array; // __u8[16]
}

export const AddressCodec: Codec<Address> = {
  size: 16,
  read: (v, o) => ({
    four: codec.be32.read(v, o),
    six: bytes16.read(v, o),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    if (x.four !== undefined) codec.be32.write(v, o, x.four);
    if (x.six !== undefined) bytes16.write(v, o, x.six);
  },
};

const u16Array3 = codec.array(codec.u16, 3);
const u16Array3Array2 = codec.array(u16Array3, 2);
const chars8 = codec.chars(8);
const chars8Array2 = codec.array(chars8, 2);
const u8Bits0To4 = codec.bits(codec.u8, 0, 4);
const u8Bits4To8 = codec.bits(codec.u8, 4, 4);

/** `typedef_only_t`, 16 bytes. */
export interface TypedefOnlyT {
  wide: bigint; // long
  first: number; // __u8 : 4
  second: number; // __u8 : 4
}

export const TypedefOnlyTCodec: Codec<TypedefOnlyT> = {
  size: 16,
  read: (v, o) => ({
    wide: codec.i64.read(v, o),
    first: u8Bits0To4.read(v, o + 8),
    second: u8Bits4To8.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.i64.write(v, o, x.wide);
    u8Bits0To4.write(v, o + 8, x.first);
    u8Bits4To8.write(v, o + 8, x.second);
  },
};

const typedefOnlyTArray2 = codec.array(TypedefOnlyTCodec, 2);

/** `enum byte_flags`: bits, to be combined with |. */
export const ByteFlags = {
  BYTE_ONE: 1,
  BYTE_TOP: 0x80,
} as const;
export type ByteFlags = number;

/** `enum Item`. */
export const ItemEnum = {
  ITEM_SMALL: -1,
  ITEM_LARGE: 300,
} as const;
export type ItemEnum = keyof typeof ItemEnum;
export const ItemEnumCodec: Codec<ItemEnum> = codec.enumeration(ItemEnum, codec.i32);

/** An anonymous enum. */
export const ItemMode = {
  MODE_OFF: 0,
  MODE_ON: 1,
} as const;
export type ItemMode = keyof typeof ItemMode;
export const ItemModeCodec: Codec<ItemMode> = codec.enumeration(ItemMode);

/** `struct item`, 16 bytes. */
export interface Item {
  kind: ItemEnum; // enum Item
  mode: ItemMode; // enum
  handler: bigint; // function *
}

export const ItemCodec: Codec<Item> = {
  size: 16,
  read: (v, o) => ({
    kind: ItemEnumCodec.read(v, o),
    mode: ItemModeCodec.read(v, o + 4),
    handler: codec.u64.read(v, o + 8),
  }),
  write(v, o, x) {
    ItemEnumCodec.write(v, o, x.kind);
    ItemModeCodec.write(v, o + 4, x.mode);
    codec.u64.write(v, o + 8, x.handler);
  },
};

const itemArray2 = codec.array(ItemCodec, 2);

/** `struct matrix`, 105 bytes. */
export interface Matrix {
  cells: number[][]; // __u16[2][3]
  names: string[]; // char[2][8]
  inner: TypedefOnlyT[]; // typedef_only_t[2]
  flags: ByteFlags; // enum byte_flags
  ratio: number; // float
  precise: number; // double
  items: Item[]; // struct item[2]
}

export const MatrixCodec: Codec<Matrix> = {
  size: 105,
  read: (v, o) => ({
    cells: u16Array3Array2.read(v, o),
    names: chars8Array2.read(v, o + 12),
    inner: typedefOnlyTArray2.read(v, o + 28),
    flags: codec.u8.read(v, o + 60),
    ratio: codec.f32.read(v, o + 61),
    precise: codec.f64.read(v, o + 65),
    items: itemArray2.read(v, o + 73),
  }),
  write(v, o, x) {
    u16Array3Array2.write(v, o, x.cells);
    chars8Array2.write(v, o + 12, x.names);
    typedefOnlyTArray2.write(v, o + 28, x.inner);
    codec.u8.write(v, o + 60, x.flags);
    codec.f32.write(v, o + 61, x.ratio);
    codec.f64.write(v, o + 65, x.precise);
    itemArray2.write(v, o + 73, x.items);
  },
};

const bytes6 = codec.bytes(6);
const bytes4 = codec.bytes(4);

export const awkward = defineObject({
  name: 'awkward',
  maps: {
    matrices: {
      type: 'hash',
      key: AddressCodec,
      value: MatrixCodec,
    },
    untyped: {
      type: 'hash',
      key: bytes6,
      value: bytes4,
    },
  },
  programs: {
    classify: { section: 'tc' },
  },
});
