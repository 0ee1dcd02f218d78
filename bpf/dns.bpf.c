// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * DNS over UDP: a query to port 53 goes to the mesh's resolver, and its answer comes
 * back under the name of the server that was asked. Connected sockets are moved when
 * they connect; of the others each datagram.
 *
 * An unconnected socket that asks a second server does so from 127.0.53.N: the resolver
 * answers to that address, its answer is made to come from there, and so says which
 * server it is for. Over IPv6 there are two such ways: the pod's address, and ::6.
 */
#include "shunt.h"
#include "sockaddr.h"
#include "pods.h"
#include "addrs.h"
#include "rules.h"
#include "queries.h"
#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A datagram, or the connect of a UDP socket. */
struct query {
	__u64 netns;
	struct endpoint dst;
	struct addr saddr;
};

struct redirect {
	struct addr addr;
	struct addr source; /* unspecified = the kernel chooses */
	__u16 port; /* host order; 0 = leave the datagram as it is */
};

static __always_inline bool is_udp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP;
}

/* 127.0.53.N, or 0 for slot 0, whose answers need no such name. */
static __always_inline __u32 slot_ip4(__u32 slot)
{
	return slot ? bpf_htonl(0x7f003500 | slot) : 0;
}

static __always_inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}

/* Where this server's answers are told by; a new server takes a free slot, or the next. */
static __always_inline __u32 slot_of(struct queries *q, const struct endpoint *server, __u32 slots)
{
	__u32 slot;

#pragma unroll
	for (__u32 i = 0; i < SHUNT_RESOLVERS; i++)
		if (i < q->count && i < slots && endpoint_equal(&q->asked[i], server))
			return i;
	if (q->count < slots)
		slot = q->count++;
	else
		slot = (q->last + 1) % slots;
	barrier_var(slot);
	slot &= SHUNT_RESOLVERS - 1;
	q->asked[slot] = *server;
	return slot;
}

static __always_inline void aim_source(const struct query *q, const struct pod *pod,
				       struct redirect *to)
{
	bool is4 = addr_is4(&q->dst.addr);

	if (!addr_is_loopback(&to->addr) || addr_is_loopback(&q->dst.addr) ||
	    addr_is_any(&q->dst.addr))
		return;
	if (pod->flags & (is4 ? POD_HAS_IP4 : POD_HAS_IP6))
		to->source = is4 ? pod->ip4 : pod->ip6;
}

/* How many servers can be told apart by the answer's source: ::6 is not on every lo. */
static __always_inline __u32 names_of(__u64 netns, bool is4)
{
	struct addr passthrough;

	if (is4)
		return SHUNT_RESOLVERS;
	addr_set(&passthrough, 0, 0, 0, bpf_htonl(6));
	return addr_owner(netns, &passthrough) ? 2 : 1;
}

/* Decides for one query. False when it is not redirected. */
static __always_inline bool redirect(struct bpf_sock *sk, const struct query *q, bool connecting,
				     struct redirect *to)
{
	bool is4 = addr_is4(&q->dst.addr);
	struct outbound_facts facts = {};
	const struct policy *policy;
	struct queries *queries;
	struct pod *pod;
	bool bound;
	__u64 ids;

	if (q->dst.port != bpf_htons(DNS_PORT))
		return false;
	pod = bpf_map_lookup_elem(&shunt_pods, &q->netns);
	if (!pod)
		return false;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy || !(policy->flags & (POLICY_DNS_IP4 | POLICY_DNS_IP6)))
		return false;
	ids = bpf_get_current_uid_gid();
	facts.policy_id = pod->policy;
	facts.uid = ids;
	facts.gid = ids >> 32;
	facts.port = bpf_ntohs(q->dst.port);
	facts.identity_confirmed = in_sidecar_cgroup(pod);
	facts.local = addr_owner(q->netns, &q->dst.addr) != 0;
	facts.daddr = q->dst.addr;
	facts.saddr = q->saddr;
	if (decide_query(policy, &facts).verdict != VERDICT_DNS)
		return false;
	/* No memory: the query goes out as it was, as a datagram may. Nothing escapes by it but a name. */
	queries = bpf_sk_storage_get(&shunt_queries, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!queries) {
		count(q->netns, COUNTER_DNS_PASSED);
		return false;
	}
	to->addr = is4 ? policy->dns4 : policy->dns6;
	to->port = policy->dns_port;
	bound = !addr_is_any(&q->saddr);
	if (!bound)
		aim_source(q, pod, to);
	if (connecting) {
		queries->asked[0] = q->dst;
		queries->count = 1;
		queries->last = 0;
		queries->connected = 1;
	} else if (queries->connected && queries->count && sk->state == BPF_TCP_ESTABLISHED) {
		/* It hears its own server alone: what others answer goes where nobody listens. */
		if (addr_is_loopback(&to->addr) && !endpoint_equal(&queries->asked[0], &q->dst)) {
			if (is4)
				addr_set4(&to->source, slot_ip4(1));
			else
				to->source = to->addr;
		}
	} else {
		/* A bound socket hears nothing at another address: its last server has the answer. */
		bool told_apart = !bound && addr_is_loopback(&to->addr);
		__u32 slot = slot_of(queries, &q->dst, told_apart ? names_of(q->netns, is4) : 1);

		queries->last = slot;
		queries->connected = 0;
		if (slot && is4)
			addr_set4(&to->source, slot_ip4(slot));
		else if (slot)
			addr_set(&to->source, 0, 0, 0, bpf_htonl(6));
	}
	count(q->netns, COUNTER_DNS_REDIRECTED);
	return true;
}

static __always_inline void forget(struct bpf_sock *sk)
{
	struct queries *queries = bpf_sk_storage_get(&shunt_queries, sk, 0, 0);

	if (queries)
		queries->count = 0;
}

static __always_inline void read4(struct bpf_sock_addr *ctx, struct bpf_sock *sk, struct query *q)
{
	q->netns = bpf_get_netns_cookie(ctx);
	q->dst.family = AF_INET;
	q->dst.port = ctx->user_port;
	addr_set4(&q->dst.addr, ctx->user_ip4);
	addr_set4(&q->saddr, sk->src_ip4);
}

static __always_inline void read6(struct bpf_sock_addr *ctx, struct bpf_sock *sk, struct query *q)
{
	q->netns = bpf_get_netns_cookie(ctx);
	q->dst.port = ctx->user_port;
	addr_set(&q->dst.addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		 ctx->user_ip6[3]);
	q->dst.family = addr_is4(&q->dst.addr) ? AF_INET : AF_INET6;
	addr_set(&q->saddr, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
}

static __always_inline void write6(struct bpf_sock_addr *ctx, const struct addr *addr, __u16 port)
{
	struct addr_words w = addr_words(addr);

	ctx->user_ip6[0] = w.w[0];
	ctx->user_ip6[1] = w.w[1];
	ctx->user_ip6[2] = w.w[2];
	ctx->user_ip6[3] = w.w[3];
	ctx->user_port = port;
}

SEC("cgroup/connect4")
int shunt_dns_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct redirect to = {};
	struct query q = {};

	if (!sk || !is_udp(ctx))
		return ALLOW;
	read4(ctx, sk, &q);
	if (!redirect(sk, &q, true, &to)) {
		forget(sk);
		return ALLOW;
	}
	if (!addr_is_any(&to.source)) {
		struct sockaddr4 source = {};

		source.family = AF_INET;
		source.ip = addr_words(&to.source).w[3];
		bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source));
	}
	ctx->user_ip4 = addr_words(&to.addr).w[3];
	ctx->user_port = bpf_htons(to.port);
	return ALLOW;
}

SEC("cgroup/connect6")
int shunt_dns_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct redirect to = {};
	struct query q = {};

	if (!sk || !is_udp(ctx))
		return ALLOW;
	read6(ctx, sk, &q);
	if (!redirect(sk, &q, true, &to)) {
		forget(sk);
		return ALLOW;
	}
	if (!addr_is_any(&to.source)) {
		struct sockaddr6 source = {};

		source.family = AF_INET6;
		source.addr = to.source;
		bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source));
	}
	write6(ctx, &to.addr, bpf_htons(to.port));
	return ALLOW;
}

/* True for an answer of the pod's resolver to 127.0.53.N or ::6, which is to come from there. */
static __always_inline bool answers_slot(const struct query *q, __u16 own_port)
{
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &q->netns);
	const struct policy *policy;
	struct addr_words w = addr_words(&q->dst.addr);

	if (addr_is4(&q->dst.addr)) {
		if ((w.w[3] & bpf_htonl(0xffffff00)) != bpf_htonl(0x7f003500))
			return false;
	} else if (!addr_is_passthrough(&q->dst.addr)) {
		return false;
	}
	if (!pod)
		return false;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	return policy && policy->dns_port && policy->dns_port == own_port;
}

SEC("cgroup/sendmsg4")
int shunt_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct redirect to = {};
	struct query q = {};

	if (!sk)
		return ALLOW;
	read4(ctx, sk, &q);
	if (answers_slot(&q, sk->src_port)) {
		ctx->msg_src_ip4 = ctx->user_ip4;
		return ALLOW;
	}
	if (!redirect(sk, &q, false, &to))
		return ALLOW;
	if (!addr_is_any(&to.source))
		ctx->msg_src_ip4 = addr_words(&to.source).w[3];
	ctx->user_ip4 = addr_words(&to.addr).w[3];
	ctx->user_port = bpf_htons(to.port);
	return ALLOW;
}

static __always_inline void set_source6(struct bpf_sock_addr *ctx, const struct addr *source)
{
	struct addr_words w = addr_words(source);

	ctx->msg_src_ip6[0] = w.w[0];
	ctx->msg_src_ip6[1] = w.w[1];
	ctx->msg_src_ip6[2] = w.w[2];
	ctx->msg_src_ip6[3] = w.w[3];
}

SEC("cgroup/sendmsg6")
int shunt_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct redirect to = {};
	struct query q = {};

	if (!sk)
		return ALLOW;
	read6(ctx, sk, &q);
	if (answers_slot(&q, sk->src_port)) {
		set_source6(ctx, &q.dst.addr);
		return ALLOW;
	}
	if (!redirect(sk, &q, false, &to))
		return ALLOW;
	if (!addr_is_any(&to.source))
		set_source6(ctx, &to.source);
	write6(ctx, &to.addr, bpf_htons(to.port));
	return ALLOW;
}

/* The server that this datagram answers for; null when it is not of the mesh's resolver. */
static __always_inline struct endpoint *asked(struct bpf_sock *sk, __u64 netns,
					      const struct addr *from, __be16 port)
{
	struct queries *queries = bpf_sk_storage_get(&shunt_queries, sk, 0, 0);
	const struct policy *policy;
	struct addr_words w;
	struct pod *pod;
	__u32 slot;

	if (!queries || !queries->count)
		return 0;
	pod = bpf_map_lookup_elem(&shunt_pods, &netns);
	if (!pod)
		return 0;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy || port != bpf_htons(policy->dns_port))
		return 0;
	w = addr_words(from);
	if (addr_equal(from, addr_is4(from) ? &policy->dns4 : &policy->dns6))
		slot = 0;
	else if (addr_is4(from) &&
		 (w.w[3] & bpf_htonl(0xffffff00)) == bpf_htonl(0x7f003500))
		slot = bpf_ntohl(w.w[3]) & 0xff;
	else if (addr_is_passthrough(from))
		slot = 1;
	else
		return 0;
	if (slot >= queries->count)
		return 0;
	barrier_var(slot);
	slot &= SHUNT_RESOLVERS - 1;
	return &queries->asked[slot];
}

SEC("cgroup/recvmsg4")
int shunt_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *server;
	struct addr from;

	if (!sk)
		return ALLOW;
	addr_set4(&from, ctx->user_ip4);
	server = asked(sk, bpf_get_netns_cookie(ctx), &from, ctx->user_port);
	if (server) {
		ctx->user_ip4 = addr_words(&server->addr).w[3];
		ctx->user_port = server->port;
	}
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int shunt_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *server;
	struct addr from;

	if (!sk)
		return ALLOW;
	addr_set(&from, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	server = asked(sk, bpf_get_netns_cookie(ctx), &from, ctx->user_port);
	if (server)
		write6(ctx, &server->addr, server->port);
	return ALLOW;
}

static __always_inline struct endpoint *connected_to(struct bpf_sock *sk)
{
	struct queries *queries;

	if (!sk)
		return 0;
	queries = bpf_sk_storage_get(&shunt_queries, sk, 0, 0);
	return queries && queries->count && queries->connected ? &queries->asked[0] : 0;
}

SEC("cgroup/getpeername4")
int shunt_dns_peername4(struct bpf_sock_addr *ctx)
{
	struct endpoint *server = connected_to(ctx->sk);

	if (server) {
		ctx->user_ip4 = addr_words(&server->addr).w[3];
		ctx->user_port = server->port;
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int shunt_dns_peername6(struct bpf_sock_addr *ctx)
{
	struct endpoint *server = connected_to(ctx->sk);

	if (server)
		write6(ctx, &server->addr, server->port);
	return ALLOW;
}
