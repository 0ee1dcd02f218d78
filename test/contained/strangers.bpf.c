// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Programs as another tool on the node might have them: each counts its runs, and does no more unless told to. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum slot {
	CONNECTS,
	LAST_IP4, /* network order */
	LAST_PORT, /* host order */
	REFUSED_PORT, /* set from outside; 0 = none */
	SOCKOPS,
	GETSOCKOPTS,
	LOOKUPS,
	CHOOSES_PORT, /* set from outside; 0 = none */
	MESSAGES,
	SLOTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} socks SEC(".maps");

static __always_inline __u64 read_slot(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&slots, &slot);

	return value ? *value : 0;
}

static __always_inline void write_slot(__u32 slot, __u64 value)
{
	bpf_map_update_elem(&slots, &slot, &value, BPF_ANY);
}

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&slots, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("cgroup/connect4")
int stranger_connect(struct bpf_sock_addr *ctx)
{
	__u16 port = bpf_ntohs(ctx->user_port);

	count(CONNECTS);
	write_slot(LAST_IP4, ctx->user_ip4);
	write_slot(LAST_PORT, port);
	return port != read_slot(REFUSED_PORT);
}

SEC("sockops")
int stranger_sockops(struct bpf_sock_ops *ctx)
{
	count(SOCKOPS);
	return 1;
}

SEC("cgroup/getsockopt")
int stranger_sockopt(struct bpf_sockopt *ctx)
{
	count(GETSOCKOPTS);
	return 1;
}

SEC("sk_lookup")
int stranger_lookup(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	__u32 key = 0;

	count(LOOKUPS);
	if (ctx->local_port != read_slot(CHOOSES_PORT))
		return SK_PASS;
	sk = bpf_map_lookup_elem(&socks, &key);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_REPLACE);
	bpf_sk_release(sk);
	return SK_PASS;
}

SEC("sk_msg")
int stranger_message(struct sk_msg_md *ctx)
{
	count(MESSAGES);
	return SK_PASS;
}
