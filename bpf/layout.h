/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every value that crosses between the programs and user space. libbpf-ts reads
 * these types back from BTF and writes src/datapath/ebpf/gen/, so a field is
 * named and typed once, here.
 *
 * Addresses are 16 bytes in network order; IPv4 stands in the last four bytes
 * behind ::ffff:0:0/96, so one key form serves both families. Ports are host
 * order unless the type is __be16.
 */
#ifndef SHUNT_LAYOUT_H
#define SHUNT_LAYOUT_H

/* Raised whenever a pinned map's key or value changes shape. */
#define SHUNT_LAYOUT_VERSION 4

#define SHUNT_MAX_PROXY_IDS 4
/* No process runs under it: the kernel's own word for an invalid id. */
#define SHUNT_NO_ID 0xffffffff
/*
 * Listeners kept per pod and family. One is enough to steer to, since the kernel
 * then picks within its SO_REUSEPORT group; the rest outlive a worker's end.
 */
#define SHUNT_LISTENER_SLOTS 16
/* Resolvers that one unconnected socket may have queries with at a time; a power of two. */
#define SHUNT_RESOLVERS 4

struct addr {
	__u8 bytes[16];
} __attribute__((aligned(4)));

/* An address and a port as they stood in the socket call. */
struct endpoint {
	struct addr addr;
	__be16 port;
	__u16 family; /* AF_INET or AF_INET6; AF_INET for IPv4-mapped sockets */
};

enum pod_flags {
	POD_CGROUP_KNOWN = 1 << 0, /* sidecar_cgroup holds; else uid and gid alone tell */
	POD_HAS_IP4 = 1 << 1,
	POD_HAS_IP6 = 1 << 2,
	POD_ACCEL_OUTBOUND = 1 << 3, /* app -> sidecar, sidecar <-> sidecar */
	POD_ACCEL_FULL = 1 << 4, /* sidecar -> app as well */
	POD_ACCEL_VOUCHED = 1 << 5, /* its sidecar reads until there is nothing: the operator's word */
};

/* pods: netns cookie -> pod. Presence is the switch that enrolls. */
struct pod {
	struct addr ip4; /* redirect target of IPv4 connections */
	struct addr ip6;
	__u32 policy; /* key into `policies` */
	__u16 outbound_port;
	__u16 inbound_port;
	enum pod_flags flags;
	__u32 sidecar_cgroup_level; /* depth below the root of cgroup2 that the agent sees, at least */
	__u64 sidecar_cgroup; /* id of the sidecar container's cgroup */
};

enum policy_flags {
	POLICY_OUT_ALL = 1 << 0, /* includeOutboundIPRanges "*" */
	POLICY_IN_ALL = 1 << 1, /* includeInboundPorts "*" */
	POLICY_LOOPBACK_INCLUDED = 1 << 2, /* an include CIDR covers loopback: rule 3b is off */
	POLICY_PASSTHROUGH_SOURCE = 1 << 3, /* 127.0.0.6 and ::6 on lo are left alone */
	POLICY_SELF_CALL_INBOUND = 1 << 4, /* sidecar to own pod IP goes inbound */
	POLICY_SKIP_IP4 = 1 << 5, /* the mesh has no rules for the family */
	POLICY_SKIP_IP6 = 1 << 6,
	POLICY_SIDECAR_TO_POD_IP = 1 << 7, /* sidecar to 127.0.0.1 goes to the pod's address */
	/* Lists that are not empty: the others need no look into a map. */
	POLICY_EXEMPT_UIDS = 1 << 8,
	POLICY_EXEMPT_UID_PORTS = 1 << 9,
	POLICY_INCLUDED_GIDS = 1 << 10, /* only the listed are captured */
	POLICY_EXCLUDED_GIDS = 1 << 11,
	POLICY_EXCLUDED_SOURCES = 1 << 12, /* inbound */
	/* When a mesh asks what is excluded, where that is not Istio's order. */
	POLICY_PORTS_LATE = 1 << 13, /* after localhost */
	POLICY_CIDRS_EARLY = 1 << 14, /* before the sidecar is told */
	/* Queries to port 53. */
	POLICY_DNS_IP4 = 1 << 15, /* captured over the family */
	POLICY_DNS_IP6 = 1 << 16,
	POLICY_DNS_SERVERS = 1 << 17, /* only those to a listed server */
	POLICY_DNS_LOCALHOST = 1 << 18, /* only those to 127.0.0.1 and ::1 */
	POLICY_DNS_TCP = 1 << 19, /* over TCP as well */
	POLICY_DNS_TCP_PASS = 1 << 20, /* over TCP the application's pass */
	POLICY_DNS_FIRST = 1 << 21, /* asked before everything, of the sidecar too */
	POLICY_DNS_EARLY = 1 << 22, /* asked before excluded ports, not of the sidecar */
};

/* policies: id -> scalars. Lists stand in `shunt_ports`, `shunt_cidrs`, `shunt_ids`. */
struct policy {
	__u64 content_hash; /* of the whole policy, lists included */
	enum policy_flags flags;
	__u32 proxy_uids[SHUNT_MAX_PROXY_IDS]; /* SHUNT_NO_ID where there are fewer */
	__u32 proxy_gids[SHUNT_MAX_PROXY_IDS];
	__u8 proxy_uid_count;
	__u8 proxy_gid_count;
	__u16 tunnel_port; /* 0 = none */
	__be32 localhost4; /* what localhost is over IPv4, masked */
	__be32 localhost4_mask;
	struct addr dns4; /* where queries over IPv4 go */
	struct addr dns6;
	__u16 dns_port; /* host order */
	__u16 pad;
	__u32 pad2;
};

enum rule_list {
	RULE_OUT_EXCLUDE = 1,
	RULE_OUT_INCLUDE = 2,
	RULE_IN_EXCLUDE = 3,
	RULE_IN_INCLUDE = 4,
	RULE_OUT_EXCLUDE_UDP = 5, /* ports whose queries pass */
	RULE_UID_PORTS_TCP = 6, /* ports that pass for some users: a set of user ranges */
	RULE_UID_PORTS_UDP = 7,
	RULE_DNS_SERVER = 8,
};

enum id_list {
	ID_EXEMPT_UID = 1,
	ID_UID_PORTS = 2, /* of the user ranges in RULE_UID_PORTS_*: a set */
	ID_INCLUDE_GID = 3,
	ID_EXCLUDE_GID = 4,
};

/*
 * LPM keys. prefixlen counts bits after itself: 64 of header, then the rule's. Values
 * of ports and ids are 1, or a set: a port and a user that share a member pass.
 */
struct port_key {
	__u32 prefixlen;
	__u32 policy;
	enum rule_list list;
	__be16 port;
	__u16 pad;
};

struct cidr_key {
	__u32 prefixlen;
	__u32 policy;
	enum rule_list list;
	struct addr addr;
};

struct id_key {
	__u32 prefixlen;
	__u32 policy;
	enum id_list list;
	__be32 id;
};

/*
 * addrs: {netns cookie, address} -> netns cookie, for "is this address local to
 * the pod"; {0, address} -> netns cookie of the enrolled pod on this node that
 * owns it.
 */
struct addr_key {
	__u64 netns;
	struct addr addr;
};

/*
 * pairs: a handshake in flight, keyed as the connecting side sees it. offers: the
 * same for connections that are only candidates for acceleration.
 */
struct pair_key {
	__u64 netns; /* 0 when the ends are in two namespaces */
	struct addr saddr;
	struct addr daddr;
	__u16 sport;
	__u16 dport;
	__u32 pad;
};

enum conn_flags {
	CONN_CLIENT = 1 << 0, /* connected through the hook */
	CONN_SERVER = 1 << 1, /* accepted, and its client is known */
	CONN_REDIRECTED = 1 << 2, /* orig differs from the peer on the wire */
	CONN_SIDECAR = 1 << 3, /* this end is the sidecar's */
	CONN_ACCEL = 1 << 4, /* candidate for acceleration */
	CONN_PAIRED = 1 << 5, /* peer holds: addresses and sequence numbers matched */
	CONN_SEND_ACCEL = 1 << 6, /* this end may redirect what it sends */
	CONN_CROSS_NETNS = 1 << 7, /* recorded under netns 0 */
	CONN_PROMOTED = 1 << 8, /* in the sockhash */
	CONN_TO_POD = 1 << 9, /* sent to the pod's address with its port, not to the sidecar */
	CONN_BOUND = 1 << 10, /* its source was given to it here: it is to look unbound */
	CONN_PEER_SENDS = 1 << 11, /* a server whose client may redirect what it sends */
	CONN_TOLD = 1 << 12, /* a server whose client can find it in `peers` */
	CONN_WATCHED = 1 << 13, /* has an entry in `flows` */
	CONN_EDGE = 1 << 14, /* was polled in a way that goes with short reads: stays with TCP */
};

struct pair {
	struct endpoint orig;
	enum conn_flags flags; /* of the connecting end */
	__u64 client; /* socket cookie */
	__u64 client_netns;
	__u32 client_snd_nxt;
	__u32 client_rcv_nxt;
	__u32 seq_valid;
	__u32 pad;
};

/* peers: client's socket cookie -> what its server found. */
struct peer {
	__u64 cookie;
	enum conn_flags flags; /* to add to the client's */
	__u32 pad;
};

/* conns: per socket, freed with it. */
struct conn {
	struct endpoint orig;
	enum conn_flags flags;
	__u64 netns;
	__u64 self; /* socket cookie */
	__u64 peer; /* socket cookie, 0 while unknown */
	__u64 since_ns; /* established, CLOCK_MONOTONIC */
};

/* listener_roles: set when the sidecar binds; accepted sockets inherit it. */
struct listener_role {
	__u64 netns;
	__u32 port; /* that it listens on, host order; 0 before it does */
	__u32 pad;
};

/* targets: where the sidecar takes outbound connections of a family. */
struct target_key {
	__u64 netns;
	__u32 family;
	__u32 pad;
};

struct listening_at {
	struct addr addr; /* that it is bound to; unspecified = all */
};

/* queries: per UDP socket, the resolvers that it asked. */
struct queries {
	struct endpoint asked[SHUNT_RESOLVERS];
	__u32 count;
	__u32 last; /* slot of the newest */
	__u32 connected;
	__u32 pad;
};

struct listener_key {
	__u64 netns;
	__u32 family;
	__u32 slot;
};

enum flow_state {
	FLOW_CANDIDATE = 0,
	FLOW_PROMOTED = 1, /* in the sockhash */
	FLOW_LEAVING = 2, /* in the sockhash still, for what may be on its way to it */
};

/* flows: state of one accelerated end, keyed by its own cookie; read by its peer. */
struct flow {
	__u64 sk; /* address of this end's struct sock: its peer looks at its queues */
	__u64 in_bytes; /* redirected to this end */
	__u64 done_bytes; /* of those, proven read */
	__u64 tcp_since; /* bytes sent by TCP since seen_seq changed */
	__u32 drained_seq; /* rcv_nxt at a moment when nothing of TCP was unread */
	__u32 drained; /* drained_seq holds */
	__u32 seen_seq; /* peer's drained_seq as last read by this end */
	__u32 fit_round; /* iterator round that last found this end fit */
	enum flow_state state;
	__u32 stop_round; /* iterator round in which this end sent more than may wait; 0 = never */
	__u32 share_bytes; /* most that may wait unread here, set by the iterator */
	__u32 pad;
};

/* budgets: netns cookie -> how many sockets share what may wait unread in a pod. */
struct budget {
	__u32 round; /* iterator round that counts */
	__u32 count; /* of its sockets in the sockhash, so far in that round */
	__u32 last; /* in the round before */
	__u32 pad;
};

enum settings_flags {
	SETTINGS_ACCEL = 1 << 0, /* the kill switch: clear and nothing is redirected */
	/* What the canary found true of this kernel: */
	SETTINGS_ACCEL_APPS = 1 << 1, /* a socket in a sockhash still tells its unread bytes */
	SETTINGS_PEER_SEQ = 1 << 2, /* copied_seq counts what came by TCP and nothing else */
};

struct settings {
	enum settings_flags flags;
	__u32 backlog_bytes; /* most that may wait unread at one end */
	__u64 min_age_ns; /* established this long before promotion */
	__u32 max_message_bytes; /* longer messages stay on TCP */
	__u32 round; /* iterator round, set before each run */
	__u32 pod_backlog_bytes; /* most that may wait unread at all ends of one pod */
	__u32 pad;
};

/* meta: what pinned these maps; read before anything is adopted. */
struct meta {
	__u32 layout;
	__u32 pad;
	__u64 cgroup_id; /* of the cgroup the links are attached to */
	char agent_version[32];
	char cgroup_path[256];
};

enum counter {
	COUNTER_OUTBOUND_REDIRECTED,
	COUNTER_OUTBOUND_PASSED,
	COUNTER_OUTBOUND_REFUSED,
	COUNTER_SELF_CALL,
	COUNTER_SIDECAR_PASSED,
	COUNTER_IMPERSONATED,
	COUNTER_INBOUND_STEERED,
	COUNTER_INBOUND_PASSED,
	COUNTER_INBOUND_REFUSED,
	COUNTER_ORIGINAL_DST,
	COUNTER_PAIR_LOST,
	COUNTER_PAIRED,
	COUNTER_PROMOTED,
	COUNTER_ACCEL_MESSAGES,
	COUNTER_ACCEL_BYTES,
	COUNTER_TCP_MESSAGES,
	COUNTER_LISTENER_CAPTURED,
	COUNTER_LISTENER_LOST,
	COUNTER_EVENT_LOST,
	COUNTER_DNS_REDIRECTED,
	COUNTER_DNS_PASSED, /* captured by the rules, sent on for want of memory */
	COUNTER_MAX,
};

/* counters: netns cookie -> per-CPU values, indexed by enum counter. */
struct counters {
	__u64 values[COUNTER_MAX];
};

enum event_kind {
	EVENT_IMPERSONATION = 1, /* proxy uid or gid outside the sidecar's cgroup */
	EVENT_INBOUND_REFUSED = 2, /* no sidecar listener to steer to */
	EVENT_STORAGE_FAILED = 3, /* connect refused: no memory for socket storage */
	EVENT_PAIR_LOST = 4, /* `pairs` full: the sidecar will not learn the destination */
	EVENT_LISTENER_LOST = 5, /* no free listener slot */
};

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 netns;
	__u64 cgroup;
	enum event_kind kind;
	__u32 uid;
	__u32 gid;
	__u32 pid;
	struct endpoint dst;
	char comm[16];
};

#endif
