// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Outbound: connect() of an enrolled pod goes to the sidecar at podIP:port, and
 * getpeername() keeps telling the application the destination it asked for. To the
 * sidecar getsockname() tells what REDIRECT would have made its own address.
 *
 * The target is an address of lo, other for other destinations; the socket's source is
 * bound to the pod's address, which getsockname() shows. A socket that is bound already,
 * to a device or a port, goes to the pod's own address, which it reaches as it is. Where
 * the sidecar listens on localhost alone, the target is 127.0.0.1; so too where rules
 * that an init container left in the pod would redirect it once more: every mesh's rules
 * leave 127.0.0.1 alone.
 */
#include "shunt.h"
#include "sockaddr.h"
#include "pods.h"
#include "addrs.h"
#include "rules.h"
#include "settings.h"
#include "conns.h"
#include "roles.h"
#include "targets.h"
#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A connect call as both families see it. */
struct attempt {
	__u64 netns;
	__u64 cookie;
	struct endpoint dst;
	struct addr saddr;
	__u32 unbound; /* no source until the kernel chooses one */
	__u32 unheld; /* nor bound to a port or a device, so any source may be given to it */
	__u32 local; /* dst is an address of the pod's */
};

/* Where to: written back by the family's own program. */
struct target {
	struct addr addr;
	__u16 port; /* host order; 0 = leave the call as it is */
	bool bind; /* give the socket this source, which it would not choose itself */
	struct addr source; /* unspecified = take back the one that it was given */
};

/*
 * A socket may connect again after AF_UNSPEC; what an earlier connect left in its
 * storage must not answer for this one.
 */
static __always_inline void forget_earlier(struct bpf_sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);

	if (conn)
		conn->flags &= CONN_BOUND;
}

/* Has a source from an earlier connect, which the kernel takes for bound from then on. */
static __always_inline bool was_bound(struct bpf_sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);

	return conn && (conn->flags & CONN_BOUND) && !sk->src_port;
}

static __always_inline void mark_bound(struct bpf_sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);

	if (conn)
		conn->flags |= CONN_BOUND;
}

static __always_inline struct conn *remember(struct bpf_sock *sk, const struct attempt *a,
					     enum conn_flags flags)
{
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!conn)
		return 0;
	flags |= conn->flags & CONN_BOUND;
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

	/* What is local is an application's socket at the other end. */
	if (!(pod->flags & POD_ACCEL_OUTBOUND) ||
	    !(local ? accel_of_apps(pod) : accel_enabled())) {
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

/*
 * One of 127.64.0.0/10 for each destination. At one address for all of them, a pod would
 * run out of ports after 28,000 connections a minute; and ports that wait for a loopback
 * address are used again after a second (tcp_tw_reuse=2, the kernel's default).
 */
static __always_inline __u32 loopback_for(const struct endpoint *dst)
{
	__u32 hash = addr_words(&dst->addr).w[3] * 0x9e3779b1 ^ dst->port * 0x85ebca6b;

	hash = (hash ^ hash >> 15) * 0x2c1b3c6d;
	hash ^= hash >> 12;
	return bpf_htonl(0x7f400000 | (hash & 0x3fffff));
}

/* The address at which the verdict's port takes connections of the destination's family. */
static __always_inline void aim(const struct attempt *a, const struct pod *pod,
				const struct policy *policy, enum verdict verdict, __u32 again,
				struct target *to)
{
	__u32 dst = addr_class(&a->dst.addr);
	bool is4 = dst & ADDR_IP4;
	/* What is asked of lo keeps to lo, as does a family the pod has no address of. */
	bool on_lo = (dst & (ADDR_LOOPBACK | ADDR_PASSTHROUGH | ADDR_ANY)) ||
		     !(pod->flags & (is4 ? POD_HAS_IP4 : POD_HAS_IP6));
	struct target_key key = { .netns = a->netns, .family = is4 ? AF_INET : AF_INET6 };
	struct listening_at *at = 0;

	if (is4)
		addr_set4(&to->addr, bpf_htonl(0x7f000001));
	else
		addr_set(&to->addr, 0, 0, 0, bpf_htonl(1));
	switch (verdict) {
	case VERDICT_POD_ADDRESS:
		/* The kernel chose 127.0.0.1 as source before the rules moved the destination. */
		to->source = to->addr;
		to->addr = is4 ? pod->ip4 : pod->ip6;
		to->port = bpf_ntohs(a->dst.port);
		to->bind = a->unbound;
		return;
	case VERDICT_DNS:
		to->addr = is4 ? policy->dns4 : policy->dns6;
		to->port = policy->dns_port;
		break;
	case VERDICT_OUTBOUND:
		to->port = pod->outbound_port;
		at = bpf_map_lookup_elem(&shunt_targets, &key);
		if (at)
			to->addr = at->addr;
		else if (!on_lo && !again && is4 && a->unheld)
			addr_set4(&to->addr, loopback_for(&a->dst));
		else if (!on_lo && !again)
			to->addr = is4 ? pod->ip4 : pod->ip6;
		break;
	default:
		to->port = pod->inbound_port;
	}
	if (!a->unbound)
		return;
	if (!addr_is_any(&a->saddr)) {
		to->source = a->saddr;
		to->bind = true;
	} else if (addr_is_loopback(&to->addr) && !on_lo) {
		/* From each of its own addresses the pod is reached by that address. */
		if (a->local)
			to->source = a->dst.addr;
		else
			to->source = is4 ? pod->ip4 : pod->ip6;
		to->bind = true;
	}
}

/* A function of its own, or the verifier follows each way through the rules to the end of the hook. */
static __noinline int verdict_of(const struct policy *policy, const struct outbound_facts *facts)
{
	return decide_outbound(policy, facts).verdict;
}

/* Decides for one connect call. DENY only when an original destination would be lost. */
static __always_inline int outbound(struct bpf_sock *sk, struct attempt *a,
				    struct target *to)
{
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &a->netns);
	struct outbound_facts facts = {};
	enum conn_flags flags = CONN_REDIRECTED;
	const struct policy *policy;
	enum verdict decided;
	__u32 dst, src;
	__u32 sidecar, claims, again;
	__u64 ids;

	if (!pod)
		return ALLOW;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy) {
		/* The agent writes the policy before the pod; without one, fail closed. */
		count(a->netns, COUNTER_OUTBOUND_REFUSED);
		return DENY;
	}

	dst = addr_class(&a->dst.addr);
	src = addr_class(&a->saddr);
	/* No route leads out from there: the kernel's answer, which comes before any rule. */
	if ((src & ADDR_IP4) && (src & ADDR_LOOPBACK) && !(dst & (ADDR_ANY | ADDR_LOOPBACK)) &&
	    !addr_owner(a->netns, &a->dst.addr)) {
		forget_earlier(sk);
		return ALLOW;
	}
	/* The kernel's own choices, which come after this hook and before the rules. */
	if ((dst & ADDR_ANY) && (dst & ADDR_IP4) && !(src & ADDR_ANY))
		a->dst.addr = a->saddr;
	if (!(dst & ADDR_IP4) && (src & ADDR_ANY) && (dst & ADDR_PASSTHROUGH))
		a->saddr = a->dst.addr;

	ids = bpf_get_current_uid_gid();
	facts.policy_id = pod->policy;
	facts.uid = ids;
	facts.gid = ids >> 32;
	facts.port = bpf_ntohs(a->dst.port);
	facts.identity_confirmed = POLICY_VALUE(&facts, in_sidecar_cgroup(pod));
	facts.local = POLICY_VALUE(&facts, addr_owner(a->netns, &a->dst.addr) != 0);
	a->local = POLICY_VALUE(&facts, facts.local);
	a->unbound = POLICY_VALUE(&facts, !!(src & ADDR_ANY));
	a->unheld = POLICY_VALUE(&facts, a->unheld & a->unbound);
	facts.daddr = a->dst.addr;
	facts.saddr = a->saddr;
	claims = POLICY_VALUE(&facts, policy_claims_sidecar(policy, facts.uid, facts.gid));
	/*
	 * Kept from the verifier on each way that leads here: where it knew a zero for one of them, that of Linux 6.1
	 * took it for all, and every sidecar for an application.
	 */
	sidecar = POLICY_VALUE(&facts, (claims != 0) & (facts.identity_confirmed != 0));
	/* Owner rules know the sidecar by its ids, and some meshes take an application's calls to its own pod. */
	again = POLICY_VALUE(&facts, claims | has(policy, POLICY_LOOPBACK_INCLUDED));
	if (claims && !sidecar) {
		count(a->netns, COUNTER_IMPERSONATED);
		event_of_process(a->netns, EVENT_IMPERSONATION, &a->dst);
	}

	decided = verdict_of(policy, &facts);
	if (decided == VERDICT_PASS) {
		bool local = is_local(&facts, addr_class(&facts.daddr));

		if (sidecar)
			offer_sidecar(sk, a, pod, local);
		else
			forget_earlier(sk);
		count(a->netns, sidecar ? COUNTER_SIDECAR_PASSED : COUNTER_OUTBOUND_PASSED);
		return ALLOW;
	}

	if ((pod->flags & POD_ACCEL_OUTBOUND) &&
	    (sidecar && decided != VERDICT_POD_ADDRESS ? accel_enabled() : accel_of_apps(pod)))
		flags |= CONN_ACCEL;
	if (sidecar)
		flags |= CONN_SIDECAR;
	if (decided == VERDICT_POD_ADDRESS)
		flags |= CONN_TO_POD;
	if (!remember(sk, a, flags)) {
		count(a->netns, COUNTER_OUTBOUND_REFUSED);
		event_of_process(a->netns, EVENT_STORAGE_FAILED, &a->dst);
		return DENY;
	}

	aim(a, pod, policy, decided, again, to);
	count(a->netns, decided == VERDICT_INBOUND ? COUNTER_SELF_CALL :
			decided == VERDICT_DNS     ? COUNTER_DNS_REDIRECTED :
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
	a.unheld = !sk->bound_dev_if && !sk->src_port;
	to.bind = was_bound(sk);
	a.dst.family = AF_INET;
	a.dst.port = ctx->user_port;
	addr_set4(&a.dst.addr, ctx->user_ip4);
	addr_set4(&a.saddr, to.bind ? 0 : sk->src_ip4);

	verdict = outbound(sk, &a, &to);
	if (verdict == ALLOW && to.bind) {
		struct sockaddr4 source = {};

		/* A socket that is bound to a port alone keeps its source. */
		source.family = AF_INET;
		source.ip = addr_words(&to.source).w[3];
		if (!bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)))
			mark_bound(sk);
	}
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
	a.unheld = !sk->bound_dev_if && !sk->src_port;
	to.bind = was_bound(sk);
	a.dst.port = ctx->user_port;
	addr_set(&a.dst.addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		 ctx->user_ip6[3]);
	a.dst.family = addr_is4(&a.dst.addr) ? AF_INET : AF_INET6;
	if (!to.bind)
		addr_set(&a.saddr, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);

	verdict = outbound(sk, &a, &to);
	if (verdict == ALLOW && to.bind) {
		struct sockaddr6 source = {};

		source.family = AF_INET6;
		source.addr = to.source;
		if (!bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)))
			mark_bound(sk);
	}
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

/* The destination that a redirected client asked for; false for every other socket. */
static __always_inline bool redirected_client(struct bpf_sock *sk, struct endpoint *asked_for)
{
	const enum conn_flags both = CONN_CLIENT | CONN_REDIRECTED;
	struct conn *conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);

	if (!conn || (conn->flags & both) != both)
		return false;
	*asked_for = conn->orig;
	return true;
}

/*
 * An MPTCP socket stands before the TCP socket that connected, of which alone the
 * programs keep something. Both have the same addresses.
 */
static __always_inline bool redirected_subflow(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					       const struct addr *peer, struct endpoint *asked_for)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *subflow;
	__u32 size;
	bool found;

	/* As of a packet that arrives: from the peer. */
	if (addr_is4(peer)) {
		tuple.ipv4.saddr = addr_words(peer).w[3];
		tuple.ipv4.daddr = sk->src_ip4;
		tuple.ipv4.sport = ctx->user_port;
		tuple.ipv4.dport = bpf_htons(sk->src_port);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, peer, sizeof(*peer));
		tuple.ipv6.daddr[0] = sk->src_ip6[0];
		tuple.ipv6.daddr[1] = sk->src_ip6[1];
		tuple.ipv6.daddr[2] = sk->src_ip6[2];
		tuple.ipv6.daddr[3] = sk->src_ip6[3];
		tuple.ipv6.sport = ctx->user_port;
		tuple.ipv6.dport = bpf_htons(sk->src_port);
		size = sizeof(tuple.ipv6);
	}
	subflow = bpf_sk_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!subflow)
		return false;
	found = redirected_client(subflow, asked_for);
	bpf_sk_release(subflow);
	return found;
}

static __always_inline bool asked_for(struct bpf_sock_addr *ctx, const struct addr *peer,
				      struct endpoint *destination)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return false;
	if (ctx->protocol == IPPROTO_MPTCP)
		return redirected_subflow(ctx, sk, peer, destination);
	return redirected_client(sk, destination);
}

SEC("cgroup/getpeername4")
int shunt_peername4(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct addr peer;

	addr_set4(&peer, ctx->user_ip4);
	if (asked_for(ctx, &peer, &destination)) {
		ctx->user_ip4 = addr_words(&destination.addr).w[3];
		ctx->user_port = destination.port;
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int shunt_peername6(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct addr peer;

	addr_set(&peer, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	if (asked_for(ctx, &peer, &destination)) {
		struct addr_words w = addr_words(&destination.addr);

		ctx->user_ip6[0] = w.w[0];
		ctx->user_ip6[1] = w.w[1];
		ctx->user_ip6[2] = w.w[2];
		ctx->user_ip6[3] = w.w[3];
		ctx->user_port = destination.port;
	}
	return ALLOW;
}

/*
 * What REDIRECT makes a sidecar's own address: localhost for what the pod sent, the
 * listener's port for what reached it from outside. -1 leaves the kernel's answer.
 */
static __always_inline __s32 redirected_server(struct bpf_sock *sk, bool *localhost)
{
	const enum conn_flags both = CONN_SERVER | CONN_REDIRECTED;
	struct listener_role *role;
	struct conn *conn;

	*localhost = false;
	if (!sk)
		return -1;
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	if (conn && (conn->flags & both) == both) {
		*localhost = !(conn->flags & CONN_TO_POD);
		return sk->src_port;
	}
	role = bpf_sk_storage_get(&shunt_roles, sk, 0, 0);
	return role && role->port ? role->port : -1;
}

/* Without a peer (not merely closed), when the kernel forgets a source that it chose itself. */
static __always_inline bool looks_unbound(struct bpf_sock *sk)
{
	struct conn *conn;

	if (!sk || sk->state != BPF_TCP_CLOSE || sk->dst_port)
		return false;
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	return conn && (conn->flags & CONN_BOUND);
}

SEC("cgroup/getsockname4")
int shunt_sockname4(struct bpf_sock_addr *ctx)
{
	bool localhost;
	__s32 port = redirected_server(ctx->sk, &localhost);

	if (looks_unbound(ctx->sk))
		ctx->user_ip4 = 0;
	if (port < 0)
		return ALLOW;
	if (localhost)
		ctx->user_ip4 = bpf_htonl(0x7f000001);
	ctx->user_port = bpf_htons(port);
	return ALLOW;
}

SEC("cgroup/getsockname6")
int shunt_sockname6(struct bpf_sock_addr *ctx)
{
	bool localhost;
	__s32 port = redirected_server(ctx->sk, &localhost);

	if (looks_unbound(ctx->sk)) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = 0;
	}
	if (port < 0)
		return ALLOW;
	if (localhost) {
		/* IPv4 on a dual-stack listener keeps its prefix. */
		if (ctx->user_ip6[2] == bpf_htonl(0xffff)) {
			ctx->user_ip6[3] = bpf_htonl(0x7f000001);
		} else {
			ctx->user_ip6[0] = 0;
			ctx->user_ip6[1] = 0;
			ctx->user_ip6[2] = 0;
			ctx->user_ip6[3] = bpf_htonl(1);
		}
	}
	ctx->user_port = bpf_htons(port);
	return ALLOW;
}
