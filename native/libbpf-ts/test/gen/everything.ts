// Written by `libbpf-ts gen` from everything.bpf.o. Do not edit: change the C types and run it again.

import { type Codec, codec, defineObject } from 'libbpf-ts';

const bytes16 = codec.bytes(16);

/** `struct addr`, 16 bytes. */
export interface Addr {
  bytes: Uint8Array; // __u8[16]
}

export const AddrCodec: Codec<Addr> = {
  size: 16,
  read: (v, o) => ({
    bytes: bytes16.read(v, o),
  }),
  write(v, o, x) {
    bytes16.write(v, o, x.bytes);
  },
};

/** `struct cidr_key`, 24 bytes. */
export interface CidrKey {
  prefixlen: number; // __u32
  policy: number; // __u32
  addr: Addr; // struct addr
}

export const CidrKeyCodec: Codec<CidrKey> = {
  size: 24,
  read: (v, o) => ({
    prefixlen: codec.u32.read(v, o),
    policy: codec.u32.read(v, o + 4),
    addr: AddrCodec.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.u32.write(v, o, x.prefixlen);
    codec.u32.write(v, o + 4, x.policy);
    AddrCodec.write(v, o + 8, x.addr);
  },
};

/** `enum verdict`. */
export const Verdict = {
  VERDICT_PASS: 1,
  VERDICT_REDIRECT: 2,
  VERDICT_DROP: 3,
} as const;
export type Verdict = keyof typeof Verdict;
export const VerdictCodec: Codec<Verdict> = codec.enumeration(Verdict);

/** `struct socket_note`, 16 bytes. */
export interface SocketNote {
  marks: bigint; // __u64
  verdict: Verdict; // enum verdict
  pad?: number; // __u32
}

export const SocketNoteCodec: Codec<SocketNote> = {
  size: 16,
  read: (v, o) => ({
    marks: codec.u64.read(v, o),
    verdict: VerdictCodec.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u64.write(v, o, x.marks);
    VerdictCodec.write(v, o + 8, x.verdict);
    if (x.pad !== undefined) codec.u32.write(v, o + 12, x.pad);
  },
};

/** `enum pod_flags`: bits, to be combined with |. */
export const PodFlags = {
  POD_ENROLLED: 1,
  POD_DRAINING: 2,
  POD_TOP: 0x80000000,
} as const;
export type PodFlags = number;

const chars16 = codec.chars(16);
const u32Array3 = codec.array(codec.u32, 3);
const u8Bits0To3 = codec.bits(codec.u8, 0, 3);
const u32Bits11To24 = codec.bits(codec.u32, 11, 13);
const bytes4 = codec.bytes(4);

/** An anonymous union, 8 bytes. Optional members share their place: all are read, give the one to write. */
export interface PodEither {
  wide?: bigint; // __u64
  narrow?: number; // __be32
}

export const PodEitherCodec: Codec<PodEither> = {
  size: 8,
  read: (v, o) => ({
    wide: codec.u64.read(v, o),
    narrow: codec.be32.read(v, o),
  }),
  write(v, o, x) {
    codec.zero(v, o, 8);
    if (x.wide !== undefined) codec.u64.write(v, o, x.wide);
    if (x.narrow !== undefined) codec.be32.write(v, o, x.narrow);
  },
};

/** An anonymous struct, 4 bytes. */
export interface PodNested {
  inner: number; // __u32
}

export const PodNestedCodec: Codec<PodNested> = {
  size: 4,
  read: (v, o) => ({
    inner: codec.u32.read(v, o),
  }),
  write(v, o, x) {
    codec.u32.write(v, o, x.inner);
  },
};

const addrArray2 = codec.array(AddrCodec, 2);

/** `struct pod`, 128 bytes. Optional members share their place: all are read, give the one to write. */
export interface Pod {
  ip: Addr; // struct addr
  ip4: number; // __be32
  port: number; // __be16
  small: number; // __u8
  negative: number; // __s8
  flags: PodFlags; // enum pod_flags
  verdict: Verdict; // enum verdict
  cookie: bigint; // __u64
  comm: string; // char[16]
  ids: number[]; // __u32[3]
  ready: boolean; // _Bool
  low: number; // __u32 : 3
  high: number; // __u32 : 13
  pad?: number; // __u32
  number?: number; // __u32
  raw?: Uint8Array; // __u8[4]
  either: PodEither; // union
  nested: PodNested; // struct
  path: Addr[]; // struct addr[2]
}

export const PodCodec: Codec<Pod> = {
  size: 128,
  read: (v, o) => ({
    ip: AddrCodec.read(v, o),
    ip4: codec.be32.read(v, o + 16),
    port: codec.be16.read(v, o + 20),
    small: codec.u8.read(v, o + 22),
    negative: codec.i8.read(v, o + 23),
    flags: codec.u32.read(v, o + 24),
    verdict: VerdictCodec.read(v, o + 28),
    cookie: codec.u64.read(v, o + 32),
    comm: chars16.read(v, o + 40),
    ids: u32Array3.read(v, o + 56),
    ready: codec.bool.read(v, o + 68),
    low: u8Bits0To3.read(v, o + 69),
    high: u32Bits11To24.read(v, o + 68),
    number: codec.u32.read(v, o + 76),
    raw: bytes4.read(v, o + 76),
    either: PodEitherCodec.read(v, o + 80),
    nested: PodNestedCodec.read(v, o + 88),
    path: addrArray2.read(v, o + 92),
  }),
  write(v, o, x) {
    codec.zero(v, o, 128);
    AddrCodec.write(v, o, x.ip);
    codec.be32.write(v, o + 16, x.ip4);
    codec.be16.write(v, o + 20, x.port);
    codec.u8.write(v, o + 22, x.small);
    codec.i8.write(v, o + 23, x.negative);
    codec.u32.write(v, o + 24, x.flags);
    VerdictCodec.write(v, o + 28, x.verdict);
    codec.u64.write(v, o + 32, x.cookie);
    chars16.write(v, o + 40, x.comm);
    u32Array3.write(v, o + 56, x.ids);
    codec.bool.write(v, o + 68, x.ready);
    u8Bits0To3.write(v, o + 69, x.low);
    u32Bits11To24.write(v, o + 68, x.high);
    if (x.pad !== undefined) codec.u32.write(v, o + 72, x.pad);
    if (x.number !== undefined) codec.u32.write(v, o + 76, x.number);
    if (x.raw !== undefined) bytes4.write(v, o + 76, x.raw);
    PodEitherCodec.write(v, o + 80, x.either);
    PodNestedCodec.write(v, o + 88, x.nested);
    addrArray2.write(v, o + 92, x.path);
  },
};

/** `struct flow_key`, 8 bytes. */
export interface FlowKey {
  cookie: bigint; // __u64
}

export const FlowKeyCodec: Codec<FlowKey> = {
  size: 8,
  read: (v, o) => ({
    cookie: codec.u64.read(v, o),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.cookie);
  },
};

const u64Array2 = codec.array(codec.u64, 2);

/** `struct tally`, 24 bytes. */
export interface Tally {
  packets: bigint; // __u64
  bytes: bigint[]; // __u64[2]
}

export const TallyCodec: Codec<Tally> = {
  size: 24,
  read: (v, o) => ({
    packets: codec.u64.read(v, o),
    bytes: u64Array2.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.packets);
    u64Array2.write(v, o + 8, x.bytes);
  },
};

/** `struct event`, 32 bytes. */
export interface Event {
  time_ns: bigint; // __u64
  kind: Verdict; // enum verdict
  number: number; // __u32
  comm: string; // char[16]
}

export const EventCodec: Codec<Event> = {
  size: 32,
  read: (v, o) => ({
    time_ns: codec.u64.read(v, o),
    kind: VerdictCodec.read(v, o + 8),
    number: codec.u32.read(v, o + 12),
    comm: chars16.read(v, o + 16),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.time_ns);
    VerdictCodec.write(v, o + 8, x.kind);
    codec.u32.write(v, o + 12, x.number);
    chars16.write(v, o + 16, x.comm);
  },
};

export const everything = defineObject({
  name: 'everything',
  maps: {
    cidrs: {
      type: 'lpm_trie',
      key: CidrKeyCodec,
      value: VerdictCodec,
    },
    events: {
      type: 'ringbuf',
    },
    many: {
      type: 'hash',
      key: codec.u64,
      value: AddrCodec,
    },
    notes: {
      type: 'sk_storage',
      key: codec.i32,
      value: SocketNoteCodec,
    },
    percpu_slots: {
      type: 'percpu_array',
      key: codec.u32,
      value: codec.u32,
    },
    pods: {
      type: 'hash',
      key: codec.u64,
      value: PodCodec,
    },
    slots: {
      type: 'array',
      key: codec.u32,
      value: codec.u64,
    },
    socks: {
      type: 'sockhash',
      key: FlowKeyCodec,
      value: codec.u64,
    },
    tallies: {
      type: 'percpu_hash',
      key: codec.u32,
      value: TallyCodec,
    },
  },
  programs: {
    connect4: { section: 'cgroup/connect4' },
    connect4_refuse: { section: 'cgroup/connect4' },
    establish: { section: 'sockops' },
    getsockopt: { section: 'cgroup/getsockopt' },
    lookup: { section: 'sk_lookup' },
    message: { section: 'sk_msg' },
  },
  rodata: {
    burst: codec.u32,
    fallback: VerdictCodec,
    netns_cookie: codec.u64,
    proxy_port: codec.u16,
    target: AddrCodec,
  },
});
