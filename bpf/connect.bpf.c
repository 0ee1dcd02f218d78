// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Outbound: connect() of an enrolled pod goes to the sidecar at podIP:port, and
 * getpeername() keeps telling the application the destination it asked for.
 *
 * The target is the pod's own address, not 127.0.0.1: a socket bound to a device
 * or an address still connects, and getsockname() shows the pod's address.
 */
#include "shunt.h"
#include "pods.h"
#include "addrs.h"
#include "rules.h"
#include "settings.h"
#include "conns.h"
#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A connect call as both families see it. */
struct attempt {
	__u64 netns;
	__u64 cookie;
	struct endpoint dst;
	struct addr saddr;
};

/* Where to: written back by the family's own program. */
struct target {
	struct addr addr;
	__u16 port; /* host order; 0 = leave the call as it is */
};

static __always_inline bool is_sidecar_cgroup(const struct pod *pod)
{
	if (!(pod->flags & POD_CGROUP_KNOWN))
		return true;
	/* The ancestor at that depth, so that a process in a child cgroup counts too. */
	return bpf_get_current_ancestor_cgroup_id(pod->sidecar_cgroup_level) ==
	       pod->sidecar_cgroup;
}

/*
 * A socket may connect again after AF_UNSPEC; what an earlier connect left in its
 * storage must not answer for this one.
 */
static __always_inline void forget_earlier(struct bpf_sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);

	if (conn)
		conn->flags = 0;
}

static __always_inline struct conn *remember(struct bpf_sock *sk, const struct attempt *a,
					     enum conn_flags flags)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!conn)
		return 0;
	__builtin_memset(conn, 0, sizeof(*conn));
	conn->orig = a->dst;
	conn->netns = a->netns;
	conn->self = a->cookie;
	conn->flags = CONN_CLIENT | flags;
	return conn;
}

/*
 * A sidecar's own connection to a pod on this node may be accelerated; anything
 * else that passes leaves no trace.
 */
static __always_inline void offer_sidecar(struct bpf_sock *sk, const struct attempt *a,
					  const struct pod *pod, bool local)
{
	enum conn_flags flags = CONN_SIDECAR | CONN_ACCEL;

	if (!(pod->flags & POD_ACCEL_OUTBOUND) || !accel_enabled()) {
		forget_earlier(sk);
		return;
	}
	if (!local) {
		if (!addr_owner(0, &a->dst.addr)) {
			forget_earlier(sk);
			return;
		}
		flags |= CONN_CROSS_NETNS;
	}
	remember(sk, a, flags);
}

/* Decides for one connect call. DENY only when an original destination would be lost. */
static __always_inline int outbound(struct bpf_sock *sk, const struct attempt *a,
				    struct target *to)
{
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &a->netns);
	struct outbound_facts facts = {};
	enum conn_flags flags = CONN_REDIRECTED;
	const struct policy *policy;
	struct decision d;
	bool sidecar, loopback_target;
	__u64 ids;

	if (!pod)
		return ALLOW;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy) {
		/* The agent writes the policy before the pod; without one, fail closed. */
		count(a->netns, COUNTER_OUTBOUND_REFUSED);
		return DENY;
	}

	ids = bpf_get_current_uid_gid();
	facts.policy_id = pod->policy;
	facts.uid = ids;
	facts.gid = ids >> 32;
	facts.port = bpf_ntohs(a->dst.port);
	facts.identity_confirmed = is_sidecar_cgroup(pod);
	facts.local = addr_owner(a->netns, &a->dst.addr) != 0;
	facts.daddr = a->dst.addr;
	facts.saddr = a->saddr;
	sidecar = policy_claims_sidecar(policy, facts.uid, facts.gid);
	if (sidecar && !facts.identity_confirmed) {
		sidecar = false;
		count(a->netns, COUNTER_IMPERSONATED);
		event_of_process(a->netns, EVENT_IMPERSONATION, &a->dst);
	}

	d = decide_outbound(policy, &facts);
	if (d.verdict == VERDICT_PASS) {
		bool local = facts.local || addr_is_loopback(&facts.daddr) ||
			     addr_is_any(&facts.daddr);

		if (sidecar)
			offer_sidecar(sk, a, pod, local);
		else
			forget_earlier(sk);
		count(a->netns, sidecar ? COUNTER_SIDECAR_PASSED : COUNTER_OUTBOUND_PASSED);
		return ALLOW;
	}

	if ((pod->flags & POD_ACCEL_OUTBOUND) && accel_enabled())
		flags |= CONN_ACCEL;
	if (sidecar)
		flags |= CONN_SIDECAR;
	if (!remember(sk, a, flags)) {
		count(a->netns, COUNTER_OUTBOUND_REFUSED);
		event_of_process(a->netns, EVENT_STORAGE_FAILED, &a->dst);
		return DENY;
	}

	/* A destination on lo keeps to lo, as does a family the pod has no address of. */
	loopback_target = addr_is_loopback(&a->dst.addr) || addr_is_passthrough(&a->dst.addr);
	if (addr_is4(&a->dst.addr)) {
		if (loopback_target || !(pod->flags & POD_HAS_IP4))
			addr_set4(&to->addr, bpf_htonl(0x7f000001));
		else
			to->addr = pod->ip4;
	} else {
		if (loopback_target || !(pod->flags & POD_HAS_IP6))
			addr_set(&to->addr, 0, 0, 0, bpf_htonl(1));
		else
			to->addr = pod->ip6;
	}
	to->port = d.verdict == VERDICT_INBOUND ? pod->inbound_port : pod->outbound_port;
	count(a->netns, d.verdict == VERDICT_INBOUND ? COUNTER_SELF_CALL :
						       COUNTER_OUTBOUND_REDIRECTED);
	return ALLOW;
}

static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP);
}

SEC("cgroup/connect4")
int shunt_connect4(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	struct target to = {};
	struct bpf_sock *sk = ctx->sk;
	int verdict;

	if (!sk || !is_tcp(ctx))
		return ALLOW;
	a.netns = bpf_get_netns_cookie(ctx);
	a.cookie = bpf_get_socket_cookie(ctx);
	a.dst.family = AF_INET;
	a.dst.port = ctx->user_port;
	addr_set4(&a.dst.addr, ctx->user_ip4);
	addr_set4(&a.saddr, sk->src_ip4);

	verdict = outbound(sk, &a, &to);
	if (verdict == ALLOW && to.port) {
		ctx->user_ip4 = addr_words(&to.addr).w[3];
		ctx->user_port = bpf_htons(to.port);
	}
	return verdict;
}

SEC("cgroup/connect6")
int shunt_connect6(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	struct target to = {};
	struct bpf_sock *sk = ctx->sk;
	struct addr_words w;
	int verdict;

	if (!sk || !is_tcp(ctx))
		return ALLOW;
	a.netns = bpf_get_netns_cookie(ctx);
	a.cookie = bpf_get_socket_cookie(ctx);
	a.dst.port = ctx->user_port;
	addr_set(&a.dst.addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		 ctx->user_ip6[3]);
	a.dst.family = addr_is4(&a.dst.addr) ? AF_INET : AF_INET6;
	addr_set(&a.saddr, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);

	verdict = outbound(sk, &a, &to);
	if (verdict == ALLOW && to.port) {
		w = addr_words(&to.addr);
		ctx->user_ip6[0] = w.w[0];
		ctx->user_ip6[1] = w.w[1];
		ctx->user_ip6[2] = w.w[2];
		ctx->user_ip6[3] = w.w[3];
		ctx->user_port = bpf_htons(to.port);
	}
	return verdict;
}

/* The destination a redirected client asked for; null for every other socket. */
static __always_inline struct conn *redirected_client(struct bpf_sock *sk)
{
	const enum conn_flags both = CONN_CLIENT | CONN_REDIRECTED;
	struct conn *conn;

	if (!sk)
		return 0;
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	return conn && (conn->flags & both) == both ? conn : 0;
}

SEC("cgroup/getpeername4")
int shunt_peername4(struct bpf_sock_addr *ctx)
{
	struct conn *conn = redirected_client(ctx->sk);

	if (conn) {
		ctx->user_ip4 = addr_words(&conn->orig.addr).w[3];
		ctx->user_port = conn->orig.port;
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int shunt_peername6(struct bpf_sock_addr *ctx)
{
	struct conn *conn = redirected_client(ctx->sk);

	if (conn) {
		struct addr_words w = addr_words(&conn->orig.addr);

		ctx->user_ip6[0] = w.w[0];
		ctx->user_ip6[1] = w.w[1];
		ctx->user_ip6[2] = w.w[2];
		ctx->user_ip6[3] = w.w[3];
		ctx->user_port = conn->orig.port;
	}
	return ALLOW;
}
