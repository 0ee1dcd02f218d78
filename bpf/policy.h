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
 * the conditions gave: the programs define it.
 */
#ifndef POLICY_VALUE
#define POLICY_VALUE(facts, value) (value)
#endif

#define DNS_PORT 53

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
	bool identity_confirmed; /* runs in the sidecar's cgroup, or that is not known */
	bool local; /* destination is an address of the pod's own namespace */
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

static __always_inline bool family_skipped(const struct policy *p, const struct addr *a)
{
	return p->flags & (addr_is4(a) ? POLICY_SKIP_IP4 : POLICY_SKIP_IP6);
}

static __always_inline bool is_localhost(const struct policy *p, const struct addr *a)
{
	if (addr_is4(a))
		return (addr_words(a).w[3] & p->localhost4_mask) == p->localhost4;
	return addr_is_localhost(a);
}

/* Routed to lo: to the pod itself. */
static __always_inline bool is_local(const struct outbound_facts *f)
{
	return f->local || addr_is_loopback(&f->daddr) || addr_is_any(&f->daddr);
}

static __always_inline bool is_query(const struct policy *p, const struct outbound_facts *f)
{
	if (f->port != DNS_PORT)
		return false;
	if (!(p->flags & (addr_is4(&f->daddr) ? POLICY_DNS_IP4 : POLICY_DNS_IP6)))
		return false;
	if (p->flags & POLICY_DNS_LOCALHOST)
		return addr_is_localhost(&f->daddr);
	if (p->flags & POLICY_DNS_SERVERS)
		return POLICY_CIDR_LISTED(f->policy_id, RULE_DNS_SERVER, &f->daddr);
	return true;
}

static __always_inline bool is_proxy(const struct policy *p, const struct outbound_facts *f)
{
	return f->identity_confirmed && policy_claims_sidecar(p, f->uid, f->gid);
}

/* Over TCP, where a mesh takes datagrams alone. */
static __always_inline bool query_passes(const struct policy *p, const struct outbound_facts *f)
{
	if (f->port != DNS_PORT || !(p->flags & POLICY_DNS_TCP_PASS))
		return false;
	return (p->flags & (addr_is4(&f->daddr) ? POLICY_DNS_IP4 : POLICY_DNS_IP6)) &&
	       !is_proxy(p, f);
}

/* Passes for users who are not captured; RULE_NONE for everyone else. */
static __always_inline enum rule exempt_user(const struct policy *p,
					     const struct outbound_facts *f,
					     enum rule_list ports)
{
	if ((p->flags & POLICY_EXEMPT_UIDS) &&
	    POLICY_ID_SET(f->policy_id, ID_EXEMPT_UID, f->uid))
		return RULE_EXEMPT_USER;
	if ((p->flags & POLICY_EXEMPT_UID_PORTS) &&
	    (POLICY_ID_SET(f->policy_id, ID_UID_PORTS, f->uid) &
	     POLICY_PORT_SET(f->policy_id, ports, f->port)))
		return RULE_EXEMPT_USER_PORT;
	return RULE_NONE;
}

static __always_inline bool exempt_group(const struct policy *p, const struct outbound_facts *f)
{
	if ((p->flags & POLICY_INCLUDED_GIDS) &&
	    !POLICY_ID_SET(f->policy_id, ID_INCLUDE_GID, f->gid))
		return true;
	return (p->flags & POLICY_EXCLUDED_GIDS) &&
	       POLICY_ID_SET(f->policy_id, ID_EXCLUDE_GID, f->gid);
}

/*
 * One of the sidecar's ids after the other, uids before gids: on lo a process with the
 * gid alone is an application, and the second uid's self-calls pass by the first's rule.
 */
static __always_inline struct decision by_identity(const struct policy *p,
						   const struct outbound_facts *f, bool self_call,
						   bool app_local, bool dns)
{
	int uid = POLICY_VALUE(f, policy_uid_index(p, f->uid));
	int gid = POLICY_VALUE(f, policy_gid_index(p, f->gid));

	if (!f->identity_confirmed)
		uid = gid = -1;
	if (app_local && p->proxy_uid_count && uid != 0)
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (uid >= 0)
		return self_call && !dns ? decide(VERDICT_INBOUND, RULE_SELF_CALL) :
					   decide(VERDICT_PASS, RULE_SIDECAR);
	if (app_local && p->proxy_gid_count && gid != 0)
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (gid >= 0)
		return self_call ? decide(VERDICT_INBOUND, RULE_SELF_CALL) :
				   decide(VERDICT_PASS, RULE_SIDECAR);
	return decide(VERDICT_PASS, RULE_NONE);
}

static __always_inline struct decision decide_outbound(const struct policy *p,
						       const struct outbound_facts *f)
{
	const enum policy_flags early = POLICY_DNS_FIRST | POLICY_DNS_EARLY;
	bool local = POLICY_VALUE(f, is_local(f));
	bool localhost = POLICY_VALUE(f, is_localhost(p, &f->daddr) || addr_is_any(&f->daddr));
	bool query = POLICY_VALUE(f, (p->flags & POLICY_DNS_TCP) && is_query(p, f));
	bool dns_late = POLICY_VALUE(f, f->port == DNS_PORT && (p->flags & POLICY_DNS_TCP) &&
						!(p->flags & early));
	bool self_call = POLICY_VALUE(f, (p->flags & POLICY_SELF_CALL_INBOUND) && local &&
						 !localhost && f->port != p->tunnel_port);
	bool app_local = POLICY_VALUE(f, local && !(p->flags & POLICY_LOOPBACK_INCLUDED) &&
						 !dns_late);
	struct decision d;
	enum rule exempt;

	if (family_skipped(p, &f->daddr))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if ((p->flags & POLICY_SIDECAR_TO_POD_IP) && addr_is_localhost(&f->daddr) &&
	    is_proxy(p, f))
		return decide(VERDICT_POD_ADDRESS, RULE_SIDECAR_LOCALHOST);
	if (p->flags & POLICY_DNS_FIRST) {
		if (query)
			return decide(VERDICT_DNS, RULE_DNS);
		if (query_passes(p, f))
			return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	}
	exempt = exempt_user(p, f, RULE_UID_PORTS_TCP);
	if (exempt)
		return decide(VERDICT_PASS, exempt);
	if ((p->flags & POLICY_CIDRS_EARLY) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (f->port == DNS_PORT && (p->flags & POLICY_DNS_EARLY)) {
		if ((p->flags & POLICY_DNS_TCP) && is_proxy(p, f))
			return decide(VERDICT_PASS, RULE_SIDECAR);
		if (query)
			return decide(VERDICT_DNS, RULE_DNS);
		if (query_passes(p, f))
			return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	}
	if (!(p->flags & POLICY_PORTS_LATE) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if ((p->flags & POLICY_PASSTHROUGH_SOURCE) && local && addr_is_passthrough(&f->saddr))
		return decide(VERDICT_PASS, RULE_PASSTHROUGH_SOURCE);

	d = by_identity(p, f, self_call, app_local, dns_late);
	if (d.rule)
		return d;
	if (exempt_group(p, f))
		return decide(VERDICT_PASS, RULE_EXEMPT_GROUP);
	if (query)
		return decide(VERDICT_DNS, RULE_DNS);
	if (query_passes(p, f))
		return decide(VERDICT_PASS, RULE_DNS_OVER_TCP);
	if (localhost)
		return decide(VERDICT_PASS, RULE_LOCALHOST);
	if ((p->flags & POLICY_PORTS_LATE) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if (POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (p->flags & POLICY_OUT_ALL)
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
	bool local = POLICY_VALUE(f, is_local(f));
	enum rule exempt;

	if (!is_query(p, f))
		return decide(VERDICT_PASS, RULE_NO_QUERY);
	if (family_skipped(p, &f->daddr))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if (p->flags & POLICY_DNS_FIRST)
		return decide(VERDICT_DNS, RULE_DNS);
	exempt = exempt_user(p, f, RULE_UID_PORTS_UDP);
	if (exempt)
		return decide(VERDICT_PASS, exempt);
	if ((p->flags & POLICY_CIDRS_EARLY) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (!(p->flags & (POLICY_PORTS_LATE | POLICY_DNS_EARLY)) &&
	    POLICY_PORT_SET(f->policy_id, RULE_OUT_EXCLUDE_UDP, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if (!(p->flags & POLICY_DNS_EARLY) && (p->flags & POLICY_PASSTHROUGH_SOURCE) && local &&
	    addr_is_passthrough(&f->saddr))
		return decide(VERDICT_PASS, RULE_PASSTHROUGH_SOURCE);
	if (is_proxy(p, f))
		return decide(VERDICT_PASS, RULE_SIDECAR);
	if (!(p->flags & POLICY_DNS_EARLY) && exempt_group(p, f))
		return decide(VERDICT_PASS, RULE_EXEMPT_GROUP);
	return decide(VERDICT_DNS, RULE_DNS);
}

static __always_inline struct decision decide_inbound(const struct policy *p,
						      const struct inbound_facts *f)
{
	if (family_skipped(p, &f->remote))
		return decide(VERDICT_PASS, RULE_FAMILY);
	if (f->local)
		return decide(VERDICT_PASS, RULE_LOCAL_TRAFFIC);
	if (p->tunnel_port && f->port == p->tunnel_port)
		return decide(VERDICT_PASS, RULE_TUNNEL_PORT);
	if ((p->flags & POLICY_EXCLUDED_SOURCES) &&
	    POLICY_CIDR_LISTED(f->policy_id, RULE_IN_EXCLUDE, &f->remote))
		return decide(VERDICT_PASS, RULE_EXCLUDED_SOURCE);
	if (p->flags & POLICY_IN_ALL) {
		if (POLICY_PORT_SET(f->policy_id, RULE_IN_EXCLUDE, f->port))
			return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
		return decide(VERDICT_INBOUND, RULE_CAPTURE_ALL);
	}
	if (POLICY_PORT_SET(f->policy_id, RULE_IN_INCLUDE, f->port))
		return decide(VERDICT_INBOUND, RULE_INCLUDED_PORT);
	return decide(VERDICT_PASS, RULE_NOT_INCLUDED);
}

#endif
