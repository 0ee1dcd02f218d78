// Written by `libbpf-ts gen` from listen.bpf.o. Do not edit: change the C types and run it again.

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

/** `enum pod_flags`: bits, to be combined with |. */
export const PodFlags = {
  POD_CGROUP_KNOWN: 1,
  POD_HAS_IP4: 2,
  POD_HAS_IP6: 4,
  POD_ACCEL_OUTBOUND: 8,
  POD_ACCEL_FULL: 0x10,
} as const;
export type PodFlags = number;

/** `struct pod`, 56 bytes. */
export interface Pod {
  ip4: Addr; // struct addr
  ip6: Addr; // struct addr
  policy: number; // __u32
  outbound_port: number; // __u16
  inbound_port: number; // __u16
  flags: PodFlags; // enum pod_flags
  sidecar_cgroup_level: number; // __u32
  sidecar_cgroup: bigint; // __u64
}

export const PodCodec: Codec<Pod> = {
  size: 56,
  read: (v, o) => ({
    ip4: AddrCodec.read(v, o),
    ip6: AddrCodec.read(v, o + 16),
    policy: codec.u32.read(v, o + 32),
    outbound_port: codec.u16.read(v, o + 36),
    inbound_port: codec.u16.read(v, o + 38),
    flags: codec.u32.read(v, o + 40),
    sidecar_cgroup_level: codec.u32.read(v, o + 44),
    sidecar_cgroup: codec.u64.read(v, o + 48),
  }),
  write(v, o, x) {
    AddrCodec.write(v, o, x.ip4);
    AddrCodec.write(v, o + 16, x.ip6);
    codec.u32.write(v, o + 32, x.policy);
    codec.u16.write(v, o + 36, x.outbound_port);
    codec.u16.write(v, o + 38, x.inbound_port);
    codec.u32.write(v, o + 40, x.flags);
    codec.u32.write(v, o + 44, x.sidecar_cgroup_level);
    codec.u64.write(v, o + 48, x.sidecar_cgroup);
  },
};

/** `enum policy_flags`: bits, to be combined with |. */
export const PolicyFlags = {
  POLICY_OUT_ALL: 1,
  POLICY_IN_ALL: 2,
  POLICY_LOOPBACK_INCLUDED: 4,
  POLICY_PASSTHROUGH_SOURCE: 8,
  POLICY_SELF_CALL_INBOUND: 0x10,
} as const;
export type PolicyFlags = number;

const u32Array4 = codec.array(codec.u32, 4);

/** `struct policy`, 48 bytes. */
export interface Policy {
  content_hash: bigint; // __u64
  flags: PolicyFlags; // enum policy_flags
  proxy_uids: number[]; // __u32[4]
  proxy_gids: number[]; // __u32[4]
  proxy_uid_count: number; // __u8
  proxy_gid_count: number; // __u8
  tunnel_port: number; // __u16
}

export const PolicyCodec: Codec<Policy> = {
  size: 48,
  read: (v, o) => ({
    content_hash: codec.u64.read(v, o),
    flags: codec.u32.read(v, o + 8),
    proxy_uids: u32Array4.read(v, o + 12),
    proxy_gids: u32Array4.read(v, o + 28),
    proxy_uid_count: codec.u8.read(v, o + 44),
    proxy_gid_count: codec.u8.read(v, o + 45),
    tunnel_port: codec.u16.read(v, o + 46),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.content_hash);
    codec.u32.write(v, o + 8, x.flags);
    u32Array4.write(v, o + 12, x.proxy_uids);
    u32Array4.write(v, o + 28, x.proxy_gids);
    codec.u8.write(v, o + 44, x.proxy_uid_count);
    codec.u8.write(v, o + 45, x.proxy_gid_count);
    codec.u16.write(v, o + 46, x.tunnel_port);
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

export const listen = defineObject({
  name: 'listen',
  maps: {
    shunt_pods: {
      type: 'hash',
      key: codec.u64,
      value: PodCodec,
    },
    shunt_policies: {
      type: 'hash',
      key: codec.u32,
      value: PolicyCodec,
    },
    shunt_roles: {
      type: 'sk_storage',
      key: codec.i32,
      value: ListenerRoleCodec,
    },
  },
  programs: {
    shunt_bind4: { section: 'cgroup/post_bind4' },
    shunt_bind6: { section: 'cgroup/post_bind6' },
  },
});
