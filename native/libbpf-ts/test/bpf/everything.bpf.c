/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* One of each kind of map and program that the tests use. No kernel types: it needs no vmlinux.h. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct addr {
	__u8 bytes[16];
};

enum pod_flags {
	POD_ENROLLED = 1 << 0,
	POD_DRAINING = 1 << 1,
	POD_TOP = 1 << 31,
};

enum verdict {
	VERDICT_PASS = 1,
	VERDICT_REDIRECT = 2,
	VERDICT_DROP = 3,
};

/* Every kind of member that the generator has to place. */
struct pod {
	struct addr ip;
	__be32 ip4;
	__be16 port;
	__u8 small;
	__s8 negative;
	enum pod_flags flags;
	enum verdict verdict;
	__u64 cookie;
	char comm[16];
	__u32 ids[3];
	_Bool ready;
	__u32 low : 3;
	__u32 high : 13;
	__u32 pad;
	union {
		__u32 number;
		__u8 raw[4];
	};
	union {
		__u64 wide;
		__be32 narrow;
	} either;
	struct {
		__u32 inner;
	} nested;
	struct addr path[2];
};

struct cidr_key {
	__u32 prefixlen;
	__u32 policy;
	struct addr addr;
};

struct tally {
	__u64 packets;
	__u64 bytes[2];
};

struct flow_key {
	__u64 cookie;
};

struct socket_note {
	__u64 marks;
	enum verdict verdict;
	__u32 pad;
};

struct event {
	__u64 time_ns;
	enum verdict kind;
	__u32 number;
	char comm[16];
};

/* Forces `struct event` into BTF: ring buffers have no value type. */
const struct event *unused_event __attribute__((unused));

const volatile __u64 netns_cookie = 7;
const volatile __u16 proxy_port = 15001;
const volatile enum verdict fallback = VERDICT_PASS;
const volatile struct addr target = {};
const volatile __u32 burst = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct pod);
} pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct addr);
} many SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} percpu_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr_key);
	__type(value, enum verdict);
} cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 64);
	__type(key, struct flow_key);
	__type(value, __u64);
} socks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_note);
} notes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&slots, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline void emit(enum verdict kind, __u32 number)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(15);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->kind = kind;
	event->number = number;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	__u32 cpu_key = 1;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &cpu_key);
	struct socket_note *note;

	if (tally) {
		tally->packets += 1;
		tally->bytes[1] += proxy_port;
	}
	count(0);
	note = bpf_sk_storage_get(&notes, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (note) {
		note->marks += netns_cookie;
		note->verdict = fallback;
	}
	for (int i = 0; i < 64; i++) {
		if (i >= burst)
			break;
		emit(VERDICT_REDIRECT, i);
	}
	emit(VERDICT_PASS, bpf_ntohs(ctx->user_port));
	return 1;
}

/* Same hook, for replacing the program of a link. */
SEC("cgroup/connect4")
int connect4_refuse(struct bpf_sock_addr *ctx)
{
	count(1);
	return 0;
}

SEC("sockops")
int establish(struct bpf_sock_ops *ops)
{
	struct flow_key key = {};

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	key.cookie = bpf_get_socket_cookie(ops);
	bpf_sock_hash_update(ops, &socks, &key, BPF_ANY);
	count(2);
	return 1;
}

SEC("sk_msg")
int message(struct sk_msg_md *msg)
{
	count(3);
	return SK_PASS;
}

SEC("sk_lookup")
int lookup(struct bpf_sk_lookup *ctx)
{
	count(4);
	return SK_PASS;
}

SEC("cgroup/getsockopt")
int getsockopt(struct bpf_sockopt *ctx)
{
	count(5);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
