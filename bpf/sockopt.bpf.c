// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * SO_ORIGINAL_DST. The kernel ran first; its answer is replaced where this agent
 * redirected the connection (it would name the sidecar's own port, or fail), and
 * supplied where it has none for a connection that reached the sidecar unredirected:
 * the socket's own address, as connection tracking would say.
 */
#include "shunt.h"
#include "sockaddr.h"
#include "conns.h"
#include "roles.h"
#include "counters.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * A program sees no more than a page of the buffer, and what it leaves in a larger one would fail the call with
 * EFAULT; optlen 0 hands the kernel's own answer through. So it does with an error, of which kernels before 5.18 would
 * write a buffer of zeros over the caller's.
 */
#define OPTLEN_SEEN 4096

/* False where the level does not fit the address or the buffer is too short: the kernel's error stands. */
static __always_inline bool answer(struct bpf_sockopt *ctx, const struct endpoint *dst)
{
	__u8 *out = ctx->optval, *end = ctx->optval_end;

	if (ctx->level == SOL_IP && addr_is4(&dst->addr)) {
		struct sockaddr4 sa = { .family = AF_INET, .port = dst->port };

		sa.ip = addr_words(&dst->addr).w[3];
		if (out + sizeof(sa) > end)
			return false;
		__builtin_memcpy(out, &sa, sizeof(sa));
		ctx->optlen = sizeof(sa);
	} else if (ctx->level == SOL_IPV6 && !addr_is4(&dst->addr)) {
		struct sockaddr6 sa = { .family = AF_INET6, .port = dst->port };

		sa.addr = dst->addr;
		if (out + sizeof(sa) > end)
			return false;
		__builtin_memcpy(out, &sa, sizeof(sa));
		ctx->optlen = sizeof(sa);
	} else {
		return false;
	}
	ctx->retval = 0;
	return true;
}

static __always_inline bool original_dst(struct bpf_sockopt *ctx, struct bpf_sock *sk)
{
	struct listener_role *role;
	struct endpoint own = {};
	struct conn *conn;
	__u32 ip4, w0, w1, w2, w3;

	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	if (conn && (conn->flags & CONN_REDIRECTED)) {
		count(conn->netns, COUNTER_ORIGINAL_DST);
		return answer(ctx, &conn->orig);
	}
	if (ctx->retval == 0)
		return false;
	/* Connection tracking knows connections, not the listener they came from. */
	if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_CLOSE)
		return false;
	role = bpf_sk_storage_get(&shunt_roles, sk, 0, 0);
	if (!role)
		return false;
	own.port = bpf_htons(sk->src_port);
	own.family = sk->family;
	ip4 = CTX_WORD(sk->src_ip4);
	w0 = CTX_WORD(sk->src_ip6[0]);
	w1 = CTX_WORD(sk->src_ip6[1]);
	w2 = CTX_WORD(sk->src_ip6[2]);
	w3 = CTX_WORD(sk->src_ip6[3]);
	if (own.family == AF_INET)
		addr_set4(&own.addr, ip4);
	else
		addr_set(&own.addr, w0, w1, w2, w3);
	count(role->netns, COUNTER_ORIGINAL_DST);
	return answer(ctx, &own);
}

SEC("cgroup/getsockopt")
int shunt_getsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->optname == SO_ORIGINAL_DST && (ctx->level == SOL_IP || ctx->level == SOL_IPV6) && sk &&
	    original_dst(ctx, sk))
		return ALLOW;
	if (ctx->optlen > OPTLEN_SEEN || ctx->retval)
		ctx->optlen = 0;
	return ALLOW;
}
