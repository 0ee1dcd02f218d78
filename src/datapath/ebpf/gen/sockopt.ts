// Written by `libbpf-ts gen` from sockopt.bpf.o. Do not edit: change the C types and run it again.

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

/** `struct endpoint`, 20 bytes. */
export interface Endpoint {
  addr: Addr; // struct addr
  port: number; // __be16
  family: number; // __u16
}

export const EndpointCodec: Codec<Endpoint> = {
  size: 20,
  read: (v, o) => ({
    addr: AddrCodec.read(v, o),
    port: codec.be16.read(v, o + 16),
    family: codec.u16.read(v, o + 18),
  }),
  write(v, o, x) {
    AddrCodec.write(v, o, x.addr);
    codec.be16.write(v, o + 16, x.port);
    codec.u16.write(v, o + 18, x.family);
  },
};

/** `enum conn_flags`: bits, to be combined with |. */
export const ConnFlags = {
  CONN_CLIENT: 1,
  CONN_SERVER: 2,
  CONN_REDIRECTED: 4,
  CONN_SIDECAR: 8,
  CONN_ACCEL: 0x10,
  CONN_PAIRED: 0x20,
  CONN_SEND_ACCEL: 0x40,
  CONN_CROSS_NETNS: 0x80,
  CONN_PROMOTED: 0x100,
} as const;
export type ConnFlags = number;

/** `struct conn`, 56 bytes. */
export interface Conn {
  orig: Endpoint; // struct endpoint
  flags: ConnFlags; // enum conn_flags
  netns: bigint; // __u64
  self: bigint; // __u64
  peer: bigint; // __u64
  since_ns: bigint; // __u64
}

export const ConnCodec: Codec<Conn> = {
  size: 56,
  read: (v, o) => ({
    orig: EndpointCodec.read(v, o),
    flags: codec.u32.read(v, o + 20),
    netns: codec.u64.read(v, o + 24),
    self: codec.u64.read(v, o + 32),
    peer: codec.u64.read(v, o + 40),
    since_ns: codec.u64.read(v, o + 48),
  }),
  write(v, o, x) {
    EndpointCodec.write(v, o, x.orig);
    codec.u32.write(v, o + 20, x.flags);
    codec.u64.write(v, o + 24, x.netns);
    codec.u64.write(v, o + 32, x.self);
    codec.u64.write(v, o + 40, x.peer);
    codec.u64.write(v, o + 48, x.since_ns);
  },
};

const u64Array19 = codec.array(codec.u64, 19);

/** `struct counters`, 152 bytes. */
export interface Counters {
  values: bigint[]; // __u64[19]
}

export const CountersCodec: Codec<Counters> = {
  size: 152,
  read: (v, o) => ({
    values: u64Array19.read(v, o),
  }),
  write(v, o, x) {
    u64Array19.write(v, o, x.values);
  },
};

/** `struct listener_role`, 8 bytes. */
export interface ListenerRole {
  netns: bigint; // __u64
}

export const ListenerRoleCodec: Codec<ListenerRole> = {
  size: 8,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.netns);
  },
};

/** `enum counter`. */
export const Counter = {
  COUNTER_OUTBOUND_REDIRECTED: 0,
  COUNTER_OUTBOUND_PASSED: 1,
  COUNTER_OUTBOUND_REFUSED: 2,
  COUNTER_SELF_CALL: 3,
  COUNTER_SIDECAR_PASSED: 4,
  COUNTER_IMPERSONATED: 5,
  COUNTER_INBOUND_STEERED: 6,
  COUNTER_INBOUND_PASSED: 7,
  COUNTER_INBOUND_REFUSED: 8,
  COUNTER_ORIGINAL_DST: 9,
  COUNTER_PAIR_LOST: 10,
  COUNTER_PAIRED: 11,
  COUNTER_PROMOTED: 12,
  COUNTER_ACCEL_MESSAGES: 13,
  COUNTER_ACCEL_BYTES: 14,
  COUNTER_TCP_MESSAGES: 15,
  COUNTER_LISTENER_CAPTURED: 16,
  COUNTER_LISTENER_LOST: 17,
  COUNTER_EVENT_LOST: 18,
  COUNTER_MAX: 19,
} as const;
export type Counter = keyof typeof Counter;
export const CounterCodec: Codec<Counter> = codec.enumeration(Counter);

export const sockopt = defineObject({
  name: 'sockopt',
  maps: {
    shunt_conns: {
      type: 'sk_storage',
      key: codec.i32,
      value: ConnCodec,
    },
    shunt_counters: {
      type: 'percpu_hash',
      key: codec.u64,
      value: CountersCodec,
    },
    shunt_roles: {
      type: 'sk_storage',
      key: codec.i32,
      value: ListenerRoleCodec,
    },
  },
  programs: {
    shunt_getsockopt: { section: 'cgroup/getsockopt' },
  },
});
