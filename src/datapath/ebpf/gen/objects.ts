// Written by `libbpf-ts gen` from accelerate.bpf.o, connect.bpf.o, cookie.bpf.o, dns.bpf.o, inbound.bpf.o, listen.bpf.o, sockops.bpf.o, sockops_btf.bpf.o, sockops_role.bpf.o, sockopt.bpf.o. Do not edit: change the C types and run it again.

import { type Codec, codec, defineObject } from 'libbpf-ts';

/** `struct budget`, 16 bytes. */
export interface Budget {
  round: number; // __u32
  count: number; // __u32
  last: number; // __u32
  pad?: number; // __u32
}

export const BudgetCodec: Codec<Budget> = {
  size: 16,
  read: (v, o) => ({
    round: codec.u32.read(v, o),
    count: codec.u32.read(v, o + 4),
    last: codec.u32.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u32.write(v, o, x.round);
    codec.u32.write(v, o + 4, x.count);
    codec.u32.write(v, o + 8, x.last);
    if (x.pad !== undefined) codec.u32.write(v, o + 12, x.pad);
  },
};

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
  CONN_TO_POD: 0x200,
  CONN_BOUND: 0x400,
  CONN_PEER_SENDS: 0x800,
  CONN_TOLD: 0x1000,
  CONN_WATCHED: 0x2000,
  CONN_EDGE: 0x4000,
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

const u64Array21 = codec.array(codec.u64, 21);

/** `struct counters`, 168 bytes. */
export interface Counters {
  values: bigint[]; // __u64[21]
}

export const CountersCodec: Codec<Counters> = {
  size: 168,
  read: (v, o) => ({
    values: u64Array21.read(v, o),
  }),
  write(v, o, x) {
    u64Array21.write(v, o, x.values);
  },
};

/** `enum flow_state`. */
export const FlowState = {
  FLOW_CANDIDATE: 0,
  FLOW_PROMOTED: 1,
  FLOW_LEAVING: 2,
} as const;
export type FlowState = keyof typeof FlowState;
export const FlowStateCodec: Codec<FlowState> = codec.enumeration(FlowState);

/** `struct flow`, 64 bytes. */
export interface Flow {
  sk: bigint; // __u64
  in_bytes: bigint; // __u64
  done_bytes: bigint; // __u64
  tcp_since: bigint; // __u64
  drained_seq: number; // __u32
  drained: number; // __u32
  seen_seq: number; // __u32
  fit_round: number; // __u32
  state: FlowState; // enum flow_state
  stop_round: number; // __u32
  share_bytes: number; // __u32
  is_closed: number; // __u32
}

export const FlowCodec: Codec<Flow> = {
  size: 64,
  read: (v, o) => ({
    sk: codec.u64.read(v, o),
    in_bytes: codec.u64.read(v, o + 8),
    done_bytes: codec.u64.read(v, o + 16),
    tcp_since: codec.u64.read(v, o + 24),
    drained_seq: codec.u32.read(v, o + 32),
    drained: codec.u32.read(v, o + 36),
    seen_seq: codec.u32.read(v, o + 40),
    fit_round: codec.u32.read(v, o + 44),
    state: FlowStateCodec.read(v, o + 48),
    stop_round: codec.u32.read(v, o + 52),
    share_bytes: codec.u32.read(v, o + 56),
    is_closed: codec.u32.read(v, o + 60),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.sk);
    codec.u64.write(v, o + 8, x.in_bytes);
    codec.u64.write(v, o + 16, x.done_bytes);
    codec.u64.write(v, o + 24, x.tcp_since);
    codec.u32.write(v, o + 32, x.drained_seq);
    codec.u32.write(v, o + 36, x.drained);
    codec.u32.write(v, o + 40, x.seen_seq);
    codec.u32.write(v, o + 44, x.fit_round);
    FlowStateCodec.write(v, o + 48, x.state);
    codec.u32.write(v, o + 52, x.stop_round);
    codec.u32.write(v, o + 56, x.share_bytes);
    codec.u32.write(v, o + 60, x.is_closed);
  },
};

const chars32 = codec.chars(32);
const chars256 = codec.chars(256);

/** `struct meta`, 304 bytes. */
export interface Meta {
  layout: number; // __u32
  pad?: number; // __u32
  cgroup_id: bigint; // __u64
  agent_version: string; // char[32]
  cgroup_path: string; // char[256]
}

export const MetaCodec: Codec<Meta> = {
  size: 304,
  read: (v, o) => ({
    layout: codec.u32.read(v, o),
    cgroup_id: codec.u64.read(v, o + 8),
    agent_version: chars32.read(v, o + 16),
    cgroup_path: chars256.read(v, o + 48),
  }),
  write(v, o, x) {
    codec.zero(v, o, 304);
    codec.u32.write(v, o, x.layout);
    if (x.pad !== undefined) codec.u32.write(v, o + 4, x.pad);
    codec.u64.write(v, o + 8, x.cgroup_id);
    chars32.write(v, o + 16, x.agent_version);
    chars256.write(v, o + 48, x.cgroup_path);
  },
};

/** `struct peer`, 16 bytes. */
export interface Peer {
  cookie: bigint; // __u64
  flags: ConnFlags; // enum conn_flags
  pad?: number; // __u32
}

export const PeerCodec: Codec<Peer> = {
  size: 16,
  read: (v, o) => ({
    cookie: codec.u64.read(v, o),
    flags: codec.u32.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u64.write(v, o, x.cookie);
    codec.u32.write(v, o + 8, x.flags);
    if (x.pad !== undefined) codec.u32.write(v, o + 12, x.pad);
  },
};

/** `enum pod_flags`: bits, to be combined with |. */
export const PodFlags = {
  POD_CGROUP_KNOWN: 1,
  POD_HAS_IP4: 2,
  POD_HAS_IP6: 4,
  POD_ACCEL_OUTBOUND: 8,
  POD_ACCEL_FULL: 0x10,
  POD_ACCEL_VOUCHED: 0x20,
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
  POLICY_SKIP_IP4: 0x20,
  POLICY_SKIP_IP6: 0x40,
  POLICY_SIDECAR_TO_POD_IP: 0x80,
  POLICY_EXEMPT_UIDS: 0x100,
  POLICY_EXEMPT_UID_PORTS: 0x200,
  POLICY_INCLUDED_GIDS: 0x400,
  POLICY_EXCLUDED_GIDS: 0x800,
  POLICY_EXCLUDED_SOURCES: 0x1000,
  POLICY_PORTS_LATE: 0x2000,
  POLICY_CIDRS_EARLY: 0x4000,
  POLICY_DNS_IP4: 0x8000,
  POLICY_DNS_IP6: 0x10000,
  POLICY_DNS_SERVERS: 0x20000,
  POLICY_DNS_LOCALHOST: 0x40000,
  POLICY_DNS_TCP: 0x80000,
  POLICY_DNS_TCP_PASS: 0x100000,
  POLICY_DNS_FIRST: 0x200000,
  POLICY_DNS_EARLY: 0x400000,
} as const;
export type PolicyFlags = number;

const u32Array4 = codec.array(codec.u32, 4);

/** `struct policy`, 96 bytes. */
export interface Policy {
  content_hash: bigint; // __u64
  flags: PolicyFlags; // enum policy_flags
  proxy_uids: number[]; // __u32[4]
  proxy_gids: number[]; // __u32[4]
  proxy_uid_count: number; // __u8
  proxy_gid_count: number; // __u8
  tunnel_port: number; // __u16
  localhost4: number; // __be32
  localhost4_mask: number; // __be32
  dns4: Addr; // struct addr
  dns6: Addr; // struct addr
  dns_port: number; // __u16
  pad?: number; // __u16
  pad2?: number; // __u32
}

export const PolicyCodec: Codec<Policy> = {
  size: 96,
  read: (v, o) => ({
    content_hash: codec.u64.read(v, o),
    flags: codec.u32.read(v, o + 8),
    proxy_uids: u32Array4.read(v, o + 12),
    proxy_gids: u32Array4.read(v, o + 28),
    proxy_uid_count: codec.u8.read(v, o + 44),
    proxy_gid_count: codec.u8.read(v, o + 45),
    tunnel_port: codec.u16.read(v, o + 46),
    localhost4: codec.be32.read(v, o + 48),
    localhost4_mask: codec.be32.read(v, o + 52),
    dns4: AddrCodec.read(v, o + 56),
    dns6: AddrCodec.read(v, o + 72),
    dns_port: codec.u16.read(v, o + 88),
  }),
  write(v, o, x) {
    codec.zero(v, o, 96);
    codec.u64.write(v, o, x.content_hash);
    codec.u32.write(v, o + 8, x.flags);
    u32Array4.write(v, o + 12, x.proxy_uids);
    u32Array4.write(v, o + 28, x.proxy_gids);
    codec.u8.write(v, o + 44, x.proxy_uid_count);
    codec.u8.write(v, o + 45, x.proxy_gid_count);
    codec.u16.write(v, o + 46, x.tunnel_port);
    codec.be32.write(v, o + 48, x.localhost4);
    codec.be32.write(v, o + 52, x.localhost4_mask);
    AddrCodec.write(v, o + 56, x.dns4);
    AddrCodec.write(v, o + 72, x.dns6);
    codec.u16.write(v, o + 88, x.dns_port);
    if (x.pad !== undefined) codec.u16.write(v, o + 90, x.pad);
    if (x.pad2 !== undefined) codec.u32.write(v, o + 92, x.pad2);
  },
};

/** `enum settings_flags`: bits, to be combined with |. */
export const SettingsFlags = {
  SETTINGS_ACCEL: 1,
  SETTINGS_ACCEL_APPS: 2,
  SETTINGS_PEER_SEQ: 4,
} as const;
export type SettingsFlags = number;

/** `struct settings`, 32 bytes. */
export interface Settings {
  flags: SettingsFlags; // enum settings_flags
  backlog_bytes: number; // __u32
  min_age_ns: bigint; // __u64
  max_message_bytes: number; // __u32
  round: number; // __u32
  pod_backlog_bytes: number; // __u32
  pad?: number; // __u32
}

export const SettingsCodec: Codec<Settings> = {
  size: 32,
  read: (v, o) => ({
    flags: codec.u32.read(v, o),
    backlog_bytes: codec.u32.read(v, o + 4),
    min_age_ns: codec.u64.read(v, o + 8),
    max_message_bytes: codec.u32.read(v, o + 16),
    round: codec.u32.read(v, o + 20),
    pod_backlog_bytes: codec.u32.read(v, o + 24),
  }),
  write(v, o, x) {
    codec.zero(v, o, 32);
    codec.u32.write(v, o, x.flags);
    codec.u32.write(v, o + 4, x.backlog_bytes);
    codec.u64.write(v, o + 8, x.min_age_ns);
    codec.u32.write(v, o + 16, x.max_message_bytes);
    codec.u32.write(v, o + 20, x.round);
    codec.u32.write(v, o + 24, x.pod_backlog_bytes);
    if (x.pad !== undefined) codec.u32.write(v, o + 28, x.pad);
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
  COUNTER_DNS_REDIRECTED: 19,
  COUNTER_DNS_PASSED: 20,
  COUNTER_MAX: 21,
} as const;
export type Counter = keyof typeof Counter;
export const CounterCodec: Codec<Counter> = codec.enumeration(Counter);

/** `struct addr_key`, 24 bytes. */
export interface AddrKey {
  netns: bigint; // __u64
  addr: Addr; // struct addr
}

export const AddrKeyCodec: Codec<AddrKey> = {
  size: 24,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
    addr: AddrCodec.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.netns);
    AddrCodec.write(v, o + 8, x.addr);
  },
};

/** `enum rule_list`. */
export const RuleList = {
  RULE_OUT_EXCLUDE: 1,
  RULE_OUT_INCLUDE: 2,
  RULE_IN_EXCLUDE: 3,
  RULE_IN_INCLUDE: 4,
  RULE_OUT_EXCLUDE_UDP: 5,
  RULE_UID_PORTS_TCP: 6,
  RULE_UID_PORTS_UDP: 7,
  RULE_DNS_SERVER: 8,
} as const;
export type RuleList = keyof typeof RuleList;
export const RuleListCodec: Codec<RuleList> = codec.enumeration(RuleList);

/** `struct cidr_key`, 28 bytes. */
export interface CidrKey {
  prefixlen: number; // __u32
  policy: number; // __u32
  list: RuleList; // enum rule_list
  addr: Addr; // struct addr
}

export const CidrKeyCodec: Codec<CidrKey> = {
  size: 28,
  read: (v, o) => ({
    prefixlen: codec.u32.read(v, o),
    policy: codec.u32.read(v, o + 4),
    list: RuleListCodec.read(v, o + 8),
    addr: AddrCodec.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.u32.write(v, o, x.prefixlen);
    codec.u32.write(v, o + 4, x.policy);
    RuleListCodec.write(v, o + 8, x.list);
    AddrCodec.write(v, o + 12, x.addr);
  },
};

/** `enum id_list`. */
export const IdList = {
  ID_EXEMPT_UID: 1,
  ID_UID_PORTS: 2,
  ID_INCLUDE_GID: 3,
  ID_EXCLUDE_GID: 4,
} as const;
export type IdList = keyof typeof IdList;
export const IdListCodec: Codec<IdList> = codec.enumeration(IdList);

/** `struct id_key`, 16 bytes. */
export interface IdKey {
  prefixlen: number; // __u32
  policy: number; // __u32
  list: IdList; // enum id_list
  id: number; // __be32
}

export const IdKeyCodec: Codec<IdKey> = {
  size: 16,
  read: (v, o) => ({
    prefixlen: codec.u32.read(v, o),
    policy: codec.u32.read(v, o + 4),
    list: IdListCodec.read(v, o + 8),
    id: codec.be32.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.u32.write(v, o, x.prefixlen);
    codec.u32.write(v, o + 4, x.policy);
    IdListCodec.write(v, o + 8, x.list);
    codec.be32.write(v, o + 12, x.id);
  },
};

/** `struct port_key`, 16 bytes. */
export interface PortKey {
  prefixlen: number; // __u32
  policy: number; // __u32
  list: RuleList; // enum rule_list
  port: number; // __be16
  pad?: number; // __u16
}

export const PortKeyCodec: Codec<PortKey> = {
  size: 16,
  read: (v, o) => ({
    prefixlen: codec.u32.read(v, o),
    policy: codec.u32.read(v, o + 4),
    list: RuleListCodec.read(v, o + 8),
    port: codec.be16.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u32.write(v, o, x.prefixlen);
    codec.u32.write(v, o + 4, x.policy);
    RuleListCodec.write(v, o + 8, x.list);
    codec.be16.write(v, o + 12, x.port);
    if (x.pad !== undefined) codec.u16.write(v, o + 14, x.pad);
  },
};

/** `struct listener_role`, 16 bytes. */
export interface ListenerRole {
  netns: bigint; // __u64
  port: number; // __u32
  pad?: number; // __u32
}

export const ListenerRoleCodec: Codec<ListenerRole> = {
  size: 16,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
    port: codec.u32.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u64.write(v, o, x.netns);
    codec.u32.write(v, o + 8, x.port);
    if (x.pad !== undefined) codec.u32.write(v, o + 12, x.pad);
  },
};

/** `struct target_key`, 16 bytes. */
export interface TargetKey {
  netns: bigint; // __u64
  family: number; // __u32
  pad?: number; // __u32
}

export const TargetKeyCodec: Codec<TargetKey> = {
  size: 16,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
    family: codec.u32.read(v, o + 8),
  }),
  write(v, o, x) {
    codec.zero(v, o, 16);
    codec.u64.write(v, o, x.netns);
    codec.u32.write(v, o + 8, x.family);
    if (x.pad !== undefined) codec.u32.write(v, o + 12, x.pad);
  },
};

/** `struct listening_at`, 16 bytes. */
export interface ListeningAt {
  addr: Addr; // struct addr
}

export const ListeningAtCodec: Codec<ListeningAt> = {
  size: 16,
  read: (v, o) => ({
    addr: AddrCodec.read(v, o),
  }),
  write(v, o, x) {
    AddrCodec.write(v, o, x.addr);
  },
};

/** `enum event_kind`. */
export const EventKind = {
  EVENT_IMPERSONATION: 1,
  EVENT_INBOUND_REFUSED: 2,
  EVENT_STORAGE_FAILED: 3,
  EVENT_PAIR_LOST: 4,
  EVENT_LISTENER_LOST: 5,
} as const;
export type EventKind = keyof typeof EventKind;
export const EventKindCodec: Codec<EventKind> = codec.enumeration(EventKind);

const chars16 = codec.chars(16);

/** `struct event`, 80 bytes. */
export interface Event {
  time_ns: bigint; // __u64
  netns: bigint; // __u64
  cgroup: bigint; // __u64
  kind: EventKind; // enum event_kind
  uid: number; // __u32
  gid: number; // __u32
  pid: number; // __u32
  dst: Endpoint; // struct endpoint
  comm: string; // char[16]
}

export const EventCodec: Codec<Event> = {
  size: 80,
  read: (v, o) => ({
    time_ns: codec.u64.read(v, o),
    netns: codec.u64.read(v, o + 8),
    cgroup: codec.u64.read(v, o + 16),
    kind: EventKindCodec.read(v, o + 24),
    uid: codec.u32.read(v, o + 28),
    gid: codec.u32.read(v, o + 32),
    pid: codec.u32.read(v, o + 36),
    dst: EndpointCodec.read(v, o + 40),
    comm: chars16.read(v, o + 60),
  }),
  write(v, o, x) {
    codec.zero(v, o, 80);
    codec.u64.write(v, o, x.time_ns);
    codec.u64.write(v, o + 8, x.netns);
    codec.u64.write(v, o + 16, x.cgroup);
    EventKindCodec.write(v, o + 24, x.kind);
    codec.u32.write(v, o + 28, x.uid);
    codec.u32.write(v, o + 32, x.gid);
    codec.u32.write(v, o + 36, x.pid);
    EndpointCodec.write(v, o + 40, x.dst);
    chars16.write(v, o + 60, x.comm);
  },
};

const endpointArray4 = codec.array(EndpointCodec, 4);

/** `struct queries`, 96 bytes. */
export interface Queries {
  asked: Endpoint[]; // struct endpoint[4]
  count: number; // __u32
  last: number; // __u32
  connected: number; // __u32
  pad?: number; // __u32
}

export const QueriesCodec: Codec<Queries> = {
  size: 96,
  read: (v, o) => ({
    asked: endpointArray4.read(v, o),
    count: codec.u32.read(v, o + 80),
    last: codec.u32.read(v, o + 84),
    connected: codec.u32.read(v, o + 88),
  }),
  write(v, o, x) {
    codec.zero(v, o, 96);
    endpointArray4.write(v, o, x.asked);
    codec.u32.write(v, o + 80, x.count);
    codec.u32.write(v, o + 84, x.last);
    codec.u32.write(v, o + 88, x.connected);
    if (x.pad !== undefined) codec.u32.write(v, o + 92, x.pad);
  },
};

/** `struct listener_key`, 16 bytes. */
export interface ListenerKey {
  netns: bigint; // __u64
  family: number; // __u32
  slot: number; // __u32
}

export const ListenerKeyCodec: Codec<ListenerKey> = {
  size: 16,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
    family: codec.u32.read(v, o + 8),
    slot: codec.u32.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.netns);
    codec.u32.write(v, o + 8, x.family);
    codec.u32.write(v, o + 12, x.slot);
  },
};

/** `struct pair_key`, 48 bytes. */
export interface PairKey {
  netns: bigint; // __u64
  saddr: Addr; // struct addr
  daddr: Addr; // struct addr
  sport: number; // __u16
  dport: number; // __u16
  pad?: number; // __u32
}

export const PairKeyCodec: Codec<PairKey> = {
  size: 48,
  read: (v, o) => ({
    netns: codec.u64.read(v, o),
    saddr: AddrCodec.read(v, o + 8),
    daddr: AddrCodec.read(v, o + 24),
    sport: codec.u16.read(v, o + 40),
    dport: codec.u16.read(v, o + 42),
  }),
  write(v, o, x) {
    codec.zero(v, o, 48);
    codec.u64.write(v, o, x.netns);
    AddrCodec.write(v, o + 8, x.saddr);
    AddrCodec.write(v, o + 24, x.daddr);
    codec.u16.write(v, o + 40, x.sport);
    codec.u16.write(v, o + 42, x.dport);
    if (x.pad !== undefined) codec.u32.write(v, o + 44, x.pad);
  },
};

/** `struct pair`, 56 bytes. */
export interface Pair {
  orig: Endpoint; // struct endpoint
  flags: ConnFlags; // enum conn_flags
  client: bigint; // __u64
  client_netns: bigint; // __u64
  client_snd_nxt: number; // __u32
  client_rcv_nxt: number; // __u32
  seq_valid: number; // __u32
  pad?: number; // __u32
}

export const PairCodec: Codec<Pair> = {
  size: 56,
  read: (v, o) => ({
    orig: EndpointCodec.read(v, o),
    flags: codec.u32.read(v, o + 20),
    client: codec.u64.read(v, o + 24),
    client_netns: codec.u64.read(v, o + 32),
    client_snd_nxt: codec.u32.read(v, o + 40),
    client_rcv_nxt: codec.u32.read(v, o + 44),
    seq_valid: codec.u32.read(v, o + 48),
  }),
  write(v, o, x) {
    codec.zero(v, o, 56);
    EndpointCodec.write(v, o, x.orig);
    codec.u32.write(v, o + 20, x.flags);
    codec.u64.write(v, o + 24, x.client);
    codec.u64.write(v, o + 32, x.client_netns);
    codec.u32.write(v, o + 40, x.client_snd_nxt);
    codec.u32.write(v, o + 44, x.client_rcv_nxt);
    codec.u32.write(v, o + 48, x.seq_valid);
    if (x.pad !== undefined) codec.u32.write(v, o + 52, x.pad);
  },
};

export const accelerate = defineObject({
  name: 'accelerate',
  maps: {
    shunt_budgets: {
      type: 'lru_hash',
      key: codec.u64,
      value: BudgetCodec,
    },
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
    shunt_flows: {
      type: 'lru_hash',
      key: codec.u64,
      value: FlowCodec,
    },
    shunt_meta: {
      type: 'array',
      key: codec.u32,
      value: MetaCodec,
    },
    shunt_peers: {
      type: 'lru_hash',
      key: codec.u64,
      value: PeerCodec,
    },
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
    shunt_settings: {
      type: 'array',
      key: codec.u32,
      value: SettingsCodec,
    },
    shunt_socks: {
      type: 'sockhash',
      key: codec.u64,
      value: codec.u64,
    },
  },
  programs: {
    shunt_msg: { section: 'sk_msg' },
    shunt_promote: { section: 'iter/bpf_sk_storage_map' },
  },
});

export const connect = defineObject({
  name: 'connect',
  maps: {
    shunt_addrs: {
      type: 'hash',
      key: AddrKeyCodec,
      value: codec.u64,
    },
    shunt_cidrs: {
      type: 'lpm_trie',
      key: CidrKeyCodec,
      value: codec.u32,
    },
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
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_ids: {
      type: 'lpm_trie',
      key: IdKeyCodec,
      value: codec.u64,
    },
    shunt_meta: {
      type: 'array',
      key: codec.u32,
      value: MetaCodec,
    },
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
    shunt_ports: {
      type: 'lpm_trie',
      key: PortKeyCodec,
      value: codec.u64,
    },
    shunt_roles: {
      type: 'sk_storage',
      key: codec.i32,
      value: ListenerRoleCodec,
    },
    shunt_settings: {
      type: 'array',
      key: codec.u32,
      value: SettingsCodec,
    },
    shunt_targets: {
      type: 'hash',
      key: TargetKeyCodec,
      value: ListeningAtCodec,
    },
  },
  programs: {
    shunt_connect4: { section: 'cgroup/connect4' },
    shunt_connect6: { section: 'cgroup/connect6' },
    shunt_peername4: { section: 'cgroup/getpeername4' },
    shunt_peername6: { section: 'cgroup/getpeername6' },
    shunt_sockname4: { section: 'cgroup/getsockname4' },
    shunt_sockname6: { section: 'cgroup/getsockname6' },
  },
});

export const cookie = defineObject({
  name: 'cookie',
  maps: {
    shunt_cookie: {
      type: 'array',
      key: codec.u32,
      value: codec.u64,
    },
  },
  programs: {
    shunt_see_cookie: { section: 'cgroup/sock_create' },
  },
});

export const dns = defineObject({
  name: 'dns',
  maps: {
    shunt_addrs: {
      type: 'hash',
      key: AddrKeyCodec,
      value: codec.u64,
    },
    shunt_cidrs: {
      type: 'lpm_trie',
      key: CidrKeyCodec,
      value: codec.u32,
    },
    shunt_counters: {
      type: 'percpu_hash',
      key: codec.u64,
      value: CountersCodec,
    },
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_ids: {
      type: 'lpm_trie',
      key: IdKeyCodec,
      value: codec.u64,
    },
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
    shunt_ports: {
      type: 'lpm_trie',
      key: PortKeyCodec,
      value: codec.u64,
    },
    shunt_queries: {
      type: 'sk_storage',
      key: codec.i32,
      value: QueriesCodec,
    },
  },
  programs: {
    shunt_dns_connect4: { section: 'cgroup/connect4' },
    shunt_dns_connect6: { section: 'cgroup/connect6' },
    shunt_dns_peername4: { section: 'cgroup/getpeername4' },
    shunt_dns_peername6: { section: 'cgroup/getpeername6' },
    shunt_recvmsg4: { section: 'cgroup/recvmsg4' },
    shunt_recvmsg6: { section: 'cgroup/recvmsg6' },
    shunt_sendmsg4: { section: 'cgroup/sendmsg4' },
    shunt_sendmsg6: { section: 'cgroup/sendmsg6' },
  },
});

export const inbound = defineObject({
  name: 'inbound',
  maps: {
    shunt_addrs: {
      type: 'hash',
      key: AddrKeyCodec,
      value: codec.u64,
    },
    shunt_cidrs: {
      type: 'lpm_trie',
      key: CidrKeyCodec,
      value: codec.u32,
    },
    shunt_counters: {
      type: 'percpu_hash',
      key: codec.u64,
      value: CountersCodec,
    },
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_ids: {
      type: 'lpm_trie',
      key: IdKeyCodec,
      value: codec.u64,
    },
    shunt_listeners: {
      type: 'sockhash',
      key: ListenerKeyCodec,
      value: codec.u64,
    },
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
    shunt_ports: {
      type: 'lpm_trie',
      key: PortKeyCodec,
      value: codec.u64,
    },
    shunt_served: {
      type: 'array',
      key: codec.u32,
      value: codec.u64,
    },
  },
  programs: {
    shunt_inbound: { section: 'sk_lookup' },
  },
});

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

export const sockops = defineObject({
  name: 'sockops',
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
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_flows: {
      type: 'lru_hash',
      key: codec.u64,
      value: FlowCodec,
    },
    shunt_listeners: {
      type: 'sockhash',
      key: ListenerKeyCodec,
      value: codec.u64,
    },
    shunt_meta: {
      type: 'array',
      key: codec.u32,
      value: MetaCodec,
    },
    shunt_offers: {
      type: 'lru_hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_pairs: {
      type: 'hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_peers: {
      type: 'lru_hash',
      key: codec.u64,
      value: PeerCodec,
    },
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
    shunt_settings: {
      type: 'array',
      key: codec.u32,
      value: SettingsCodec,
    },
    shunt_targets: {
      type: 'hash',
      key: TargetKeyCodec,
      value: ListeningAtCodec,
    },
  },
  programs: {
    shunt_sockops: { section: 'sockops' },
  },
});

export const sockopsBtf = defineObject({
  name: 'sockops_btf',
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
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_flows: {
      type: 'lru_hash',
      key: codec.u64,
      value: FlowCodec,
    },
    shunt_listeners: {
      type: 'sockhash',
      key: ListenerKeyCodec,
      value: codec.u64,
    },
    shunt_meta: {
      type: 'array',
      key: codec.u32,
      value: MetaCodec,
    },
    shunt_offers: {
      type: 'lru_hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_pairs: {
      type: 'hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_peers: {
      type: 'lru_hash',
      key: codec.u64,
      value: PeerCodec,
    },
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
    shunt_settings: {
      type: 'array',
      key: codec.u32,
      value: SettingsCodec,
    },
    shunt_targets: {
      type: 'hash',
      key: TargetKeyCodec,
      value: ListeningAtCodec,
    },
  },
  programs: {
    shunt_sockops: { section: 'sockops' },
  },
});

export const sockopsRole = defineObject({
  name: 'sockops_role',
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
    shunt_events: {
      type: 'ringbuf',
    },
    shunt_flows: {
      type: 'lru_hash',
      key: codec.u64,
      value: FlowCodec,
    },
    shunt_listeners: {
      type: 'sockhash',
      key: ListenerKeyCodec,
      value: codec.u64,
    },
    shunt_meta: {
      type: 'array',
      key: codec.u32,
      value: MetaCodec,
    },
    shunt_offers: {
      type: 'lru_hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_pairs: {
      type: 'hash',
      key: PairKeyCodec,
      value: PairCodec,
    },
    shunt_peers: {
      type: 'lru_hash',
      key: codec.u64,
      value: PeerCodec,
    },
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
    shunt_settings: {
      type: 'array',
      key: codec.u32,
      value: SettingsCodec,
    },
    shunt_targets: {
      type: 'hash',
      key: TargetKeyCodec,
      value: ListeningAtCodec,
    },
  },
  programs: {
    shunt_sockops: { section: 'sockops' },
  },
});

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
