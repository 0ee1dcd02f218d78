/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one decision: what happens to a connection or a query of an enrolled pod. Pure C
 * over facts that the caller gathered; the macros look up a policy's lists. It is
 * compiled into the programs and natively for tests and `shunt explain`.
 *
 * The order is Istio's REDIRECT rules (tools/istio-iptables, chains ISTIO_OUTPUT and
 * ISTIO_INBOUND), first match wins; flags say where another mesh asks earlier or later.
 */
#ifndef SHUNT_POLICY_H
#define SHUNT_POLICY_H

#include "address.h"
#include "identity.h"

#ifndef POLICY_PORT_SET
#error "define POLICY_PORT_SET(policy_id, list, port), POLICY_ID_SET(policy_id, list, id) and POLICY_CIDR_LISTED(policy_id, list, addr)"
#endif

/*
 * A value that the verifier is not to know, or it follows every combination of what
 * the conditions gave: the programs define it. Kept in a __u32 or __u8, because clang makes
 * a bool of it by another condition.
 */
#ifndef POLICY_VALUE
#define POLICY_VALUE(facts, value) (value)
#endif

#define DNS_PORT 53
/* Of policy_uid_bits() and policy_gid_bits(). */
#define FIRST_ID 1
#define ANY_ID ((1 << SHUNT_MAX_PROXY_IDS) - 1)

enum verdict {
	VERDICT_PASS,
	VERDICT_OUTBOUND, /* to the sidecar's outbound port */
	VERDICT_INBOUND, /* to the sidecar's inbound port */
	VERDICT_DNS, /* to the mesh's resolver */
	VERDICT_POD_ADDRESS, /* to the same port of the pod's own address */
};

/* The rule that decided, for people. */
enum rule {
	RULE_NONE,
	RULE_EXCLUDED_PORT,
	RULE_PASSTHROUGH_SOURCE,
	RULE_SELF_CALL,
	RULE_APP_LOCAL,
	RULE_SIDECAR,
	RULE_LOCALHOST,
	RULE_EXCLUDED_CIDR,
	RULE_INCLUDED_PORT,
	RULE_INCLUDED_CIDR,
	RULE_CAPTURE_ALL,
	RULE_NOT_INCLUDED,
	RULE_TUNNEL_PORT,
	RULE_LOCAL_TRAFFIC,
	RULE_FAMILY,
	RULE_EXEMPT_USER,
	RULE_EXEMPT_USER_PORT,
	RULE_EXEMPT_GROUP,
	RULE_SIDECAR_LOCALHOST,
	RULE_DNS,
	RULE_DNS_OVER_TCP,
	RULE_EXCLUDED_SOURCE,
	RULE_NO_QUERY,
};

struct decision {
	enum verdict verdict;
	enum rule rule;
};

/* An outbound connect or query as the rules see it. */
struct outbound_facts {
	__u32 policy_id;
	__u32 uid; /* of the calling process */
	__u32 gid;
	__u16 port; /* destination, host order */
	__u8 identity_confirmed; /* runs in the sidecar's cgroup, or that is not known */
	__u8 local; /* destination is an address of the pod's own namespace */
	struct addr daddr;
	struct addr saddr; /* bound source; any when not bound */
};

/* An inbound TCP connection as it reaches the pod. */
struct inbound_facts {
	__u32 policy_id;
	__u16 port; /* destination, host order */
	bool local; /* comes from the pod's own namespace */
	struct addr remote;
};

static __always_inline struct decision decide(enum verdict verdict, enum rule rule)
{
	struct decision d = { verdict, rule };

	return d;
}

/* Read anew for each question, for the verifier's sake as well: it knows nothing of what a map holds. */
static __always_inline bool has(const struct policy *p, __u32 flags)
{
	return *(const volatile __u32 *)&p->flags & flags;
}

/*
 * Asks a value from POLICY_VALUE. The copy is what the verifier learns the answer of, so
 * it does not tell later questions apart by it.
 */
static __always_inline bool any(__u32 value, __u32 bits)
{
#ifdef barrier_var
	barrier_var(value);
#endif
	return value & bits;
}

static __always_inline bool yes(__u32 value)
{
	return any(value, 1);
}

/* dst: the destination's enum addr_class. */
static __always_inline bool family_skipped(const struct policy *p, __u32 dst)
{
	return has(p, any(dst, ADDR_IP4) ? POLICY_SKIP_IP4 : POLICY_SKIP_IP6);
}

static __always_inline bool is_localhost(const struct policy *p, const struct outbound_facts *f,
					 __u32 dst)
{
	if (any(dst, ADDR_IP4))
		return (addr_words(&f->daddr).w[3] & p->localhost4_mask) == p->localhost4;
	return any(dst, ADDR_LOCALHOST);
}

/* Routed to lo: to the pod itself. */
static __always_inline bool is_local(const struct outbound_facts *f, __u32 dst)
{
	return f->local || any(dst, ADDR_LOOPBACK | ADDR_ANY);
}

static __always_inline bool is_query(const struct policy *p, const struct outbound_facts *f,
				     __u32 dst)
{
	if (f->port != DNS_PORT)
		return false;
	if (!has(p, any(dst, ADDR_IP4) ? POLICY_DNS_IP4 : POLICY_DNS_IP6))
		return false;
	if (has(p, POLICY_DNS_LOCALHOST))
		return any(dst, ADDR_LOCALHOST);
	if (has(p, POLICY_DNS_SERVERS))
		return POLICY_CIDR_LISTED(f->policy_id, RULE_DNS_SERVER, &f->daddr);
	return true;
}

/* Over TCP, where a mesh takes datagrams alone. */
static __always_inline bool query_passes(const struct policy *p, const struct outbound_facts *f,
					 __u32 dst, __u32 proxy)
{
	if (f->port != DNS_PORT || !has(p, POLICY_DNS_TCP_PASS))
		return false;
	return has(p, any(dst, ADDR_IP4) ? POLICY_DNS_IP4 : POLICY_DNS_IP6) && !any(proxy, ANY_ID);
}

/* Passes for users who are not captured; RULE_NONE for everyone else. */
static __always_inline enum rule exempt_user(const struct policy *p,
					     const struct outbound_facts *f,
					     enum rule_list ports)
{
	if (has(p, POLICY_EXEMPT_UIDS) &&
	    POLICY_ID_SET(f->policy_id, ID_EXEMPT_UID, f->uid))
		return RULE_EXEMPT_USER;
	if (has(p, POLICY_EXEMPT_UID_PORTS) &&
	    (POLICY_ID_SET(f->policy_id, ID_UID_PORTS, f->uid) &
	     POLICY_PORT_SET(f->policy_id, ports, f->port)))
		return RULE_EXEMPT_USER_PORT;
	return RULE_NONE;
}

static __always_inline bool exempt_group(const struct policy *p, const struct outbound_facts *f)
{
	if (has(p, POLICY_INCLUDED_GIDS) &&
	    !POLICY_ID_SET(f->policy_id, ID_INCLUDE_GID, f->gid))
		return true;
	return has(p, POLICY_EXCLUDED_GIDS) &&
	       POLICY_ID_SET(f->policy_id, ID_EXCLUDE_GID, f->gid);
}

/*
 * One of the sidecar's ids after the other, uids before gids: on lo a process with the
 * gid alone is an application, and the second uid's self-calls pass by the first's rule.
 */
static __always_inline struct decision by_identity(const struct policy *p,
						   __u32 uid, __u32 gid, __u32 self_call,
						   __u32 app_local, __u32 dns)
{
	if (yes(app_local) && p->proxy_uid_count && !any(uid, FIRST_ID))
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (any(uid, ANY_ID))
		return yes(self_call) && !yes(dns) ? decide(VERDICT_INBOUND, RULE_SELF_CALL) :
					   decide(VERDICT_PASS, RULE_SIDECAR);
	if (yes(app_local) && p->proxy_gid_count && !any(gid, FIRST_ID))
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (any(gid, ANY_ID))
		return yes(self_call) ? decide(VERDICT_INBOUND, RULE_SELF_CALL) :
				   decide(VERDICT_PASS, RULE_SIDECAR);
	return decide(VERDICT_PASS, RULE_NONE);
}

static __always_inline struct decision decide_outbound(const struct policy *p,
						       const struct outbound_facts *f)
{
	const enum policy_flags early = POLICY_DNS_FIRST | POLICY_DNS_EARLY;
	__u32 dst = POLICY_VALUE(f, addr_class(&f->daddr));
	__u32 local = POLICY_VALUE(f, is_local(f, dst));
	__u32 localhost = POLICY_VALUE(f, is_localhost(p, f, dst) || any(dst, ADDR_ANY));
	__u32 query = POLICY_VALUE(f, has(p, POLICY_DNS_TCP) && is_query(p, f, dst));
	__u32 dns_late = POLICY_VALUE(f, f->port == DNS_PORT && has(p, POLICY_DNS_TCP) &&
						!has(p, early));
	__u32 self_call = POLICY_VALUE(f, has(p, POLICY_SELF_CALL_INBOUND) && yes(local) &&
						 !yes(localhost) && f->port != p->tunnel_port);
	__u32 app_local = POLICY_VALUE(f, yes(local) && !has(p, POLICY_LOOPBACK_INCLUDED) &&
						 !yes(dns_late));
	__u32 confirmed = POLICY_VALUE(f, 0 - (f->identity_confirmed & 1));
	__u32 uid = policy_uid_bits(p, f->uid) & confirmed;
	__u32 gid = policy_gid_bits(p, f->gid) & confirmed;
	__u32 proxy = uid | gid;
	struct decision d;
	enum rule exempt;

	if (family_skipped(p, dst))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if (has(p, POLICY_SIDECAR_TO_POD_IP) && any(dst, ADDR_LOCALHOST) && any(proxy, ANY_ID))
		return decide(VERDICT_POD_ADDRESS, RULE_SIDECAR_LOCALHOST);
	if (has(p, POLICY_DNS_FIRST)) {
		if (yes(query))
			return decide(VERDICT_DNS, RULE_DNS);
		if (query_passes(p, f, dst, proxy))
			return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	}
	exempt = exempt_user(p, f, RULE_UID_PORTS_TCP);
	if (exempt)
		return decide(VERDICT_PASS, exempt);
	if (has(p, POLICY_CIDRS_EARLY) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (f->port == DNS_PORT && has(p, POLICY_DNS_EARLY)) {
		if (has(p, POLICY_DNS_TCP) && any(proxy, ANY_ID))
			return decide(VERDICT_PASS, RULE_SIDECAR);
		if (yes(query))
			return decide(VERDICT_DNS, RULE_DNS);
		if (query_passes(p, f, dst, proxy))
			return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	}
	if (!has(p, POLICY_PORTS_LATE) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if (has(p, POLICY_PASSTHROUGH_SOURCE) && yes(local) && addr_is_passthrough(&f->saddr))
		return decide(VERDICT_PASS, RULE_PASSTHROUGH_SOURCE);

	d = by_identity(p, uid, gid, self_call, app_local, dns_late);
	if (d.rule)
		return d;
	if (exempt_group(p, f))
		return decide(VERDICT_PASS, RULE_EXEMPT_GROUP);
	if (yes(query))
		return decide(VERDICT_DNS, RULE_DNS);
	if (query_passes(p, f, dst, proxy))
		return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	/* Without either flag applications' local traffic has passed, but for queries. */
	if (yes(localhost) && has(p, POLICY_LOOPBACK_INCLUDED | POLICY_SELF_CALL_INBOUND))
		return decide(VERDICT_PASS, RULE_LOCALHOST);
	if (has(p, POLICY_PORTS_LATE) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if (POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (has(p, POLICY_OUT_ALL))
		return decide(VERDICT_OUTBOUND, RULE_CAPTURE_ALL);
	if (POLICY_PORT_SET(f->policy_id, RULE_OUT_INCLUDE, f->port))
		return decide(VERDICT_OUTBOUND, RULE_INCLUDED_PORT);
	if (POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_INCLUDE, &f->daddr))
		return decide(VERDICT_OUTBOUND, RULE_INCLUDED_CIDR);
	return decide(VERDICT_PASS, RULE_NOT_INCLUDED);
}

/* UDP: queries to port 53 are the only datagrams that a mesh takes. */
static __always_inline struct decision decide_query(const struct policy *p,
						    const struct outbound_facts *f)
{
	__u32 dst = POLICY_VALUE(f, addr_class(&f->daddr));
	__u32 local = POLICY_VALUE(f, is_local(f, dst));
	enum rule exempt;

	if (!is_query(p, f, dst))
		return decide(VERDICT_PASS, RULE_NO_QUERY);
	if (family_skipped(p, dst))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if (has(p, POLICY_DNS_FIRST))
		return decide(VERDICT_DNS, RULE_DNS);
	exempt = exempt_user(p, f, RULE_UID_PORTS_UDP);
	if (exempt)
		return decide(VERDICT_PASS, exempt);
	if (has(p, POLICY_CIDRS_EARLY) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (!has(p, POLICY_PORTS_LATE | POLICY_DNS_EARLY) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE_UDP, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if (!has(p, POLICY_DNS_EARLY) && has(p, POLICY_PASSTHROUGH_SOURCE) && yes(local) &&
	    addr_is_passthrough(&f->saddr))
		return decide(VERDICT_PASS, RULE_PASSTHROUGH_SOURCE);
	if (f->identity_confirmed && policy_claims_sidecar(p, f->uid, f->gid))
		return decide(VERDICT_PASS, RULE_SIDECAR);
	if (!has(p, POLICY_DNS_EARLY) && exempt_group(p, f))
		return decide(VERDICT_PASS, RULE_EXEMPT_GROUP);
	return decide(VERDICT_DNS, RULE_DNS);
}

static __always_inline struct decision decide_inbound(const struct policy *p,
						      const struct inbound_facts *f)
{
	if (family_skipped(p, addr_class(&f->remote)))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if (f->local)
		return decide(VERDICT_PASS, RULE_LOCAL_TRAFFIC);
	if (p->tunnel_port && f->port == p->tunnel_port)
		return decide(VERDICT_PASS, RULE_TUNNEL_PORT);
	if (has(p, POLICY_EXCLUDED_SOURCES) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_IN_EXCLUDE, &f->remote))
		return decide(VERDICT_PASS, RULE_EXCLUDED_SOURCE);
	if (has(p, POLICY_IN_ALL)) {
		if (POLICY_PORT_SET(f->policy_id, RULE_IN_EXCLUDE, f->port))
			return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
		return decide(VERDICT_INBOUND, RULE_CAPTURE_ALL);
	}
	if (POLICY_PORT_SET(f->policy_id, RULE_IN_INCLUDE, f->port))
		return decide(VERDICT_INBOUND, RULE_INCLUDED_PORT);
	return decide(VERDICT_PASS, RULE_NOT_INCLUDED);
}

#endif
