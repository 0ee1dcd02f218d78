/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one decision: what happens to a connection of an enrolled pod. Pure C over
 * facts that the caller gathered; the two macros look up a policy's lists. It is
 * compiled into the programs and natively for tests and `shunt explain`.
 *
 * The order is Istio's REDIRECT rules (tools/istio-iptables, chains ISTIO_OUTPUT
 * and ISTIO_INBOUND), first match wins.
 */
#ifndef SHUNT_POLICY_H
#define SHUNT_POLICY_H

#include "address.h"
#include "identity.h"

#ifndef POLICY_PORT_LISTED
#error "define POLICY_PORT_LISTED(policy_id, list, port) and POLICY_CIDR_LISTED(policy_id, list, addr)"
#endif

enum verdict {
	VERDICT_PASS,
	VERDICT_OUTBOUND, /* to the sidecar's outbound port */
	VERDICT_INBOUND, /* to the sidecar's inbound port */
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
};

struct decision {
	enum verdict verdict;
	enum rule rule;
};

/* An outbound TCP connect as the rules see it. */
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
};

static __always_inline struct decision decide(enum verdict verdict, enum rule rule)
{
	struct decision d = { verdict, rule };

	return d;
}

static __always_inline struct decision decide_outbound(const struct policy *p,
						       const struct outbound_facts *f)
{
	bool local = f->local || addr_is_loopback(&f->daddr) || addr_is_any(&f->daddr);
	bool localhost = addr_is_localhost(&f->daddr) || addr_is_any(&f->daddr);
	bool uid = f->identity_confirmed && policy_uid_listed(p, f->uid);
	bool gid = f->identity_confirmed && policy_gid_listed(p, f->gid);
	bool bypass_local = !(p->flags & POLICY_LOOPBACK_INCLUDED);

	if (POLICY_PORT_LISTED(f->policy_id, RULE_OUT_EXCLUDE, f->port))
		return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
	if ((p->flags & POLICY_PASSTHROUGH_SOURCE) && local && addr_is_passthrough(&f->saddr))
		return decide(VERDICT_PASS, RULE_PASSTHROUGH_SOURCE);

	/* uid before gid: on lo a process with the gid alone is an application. */
	if (uid && (p->flags & POLICY_SELF_CALL_INBOUND) && local && !localhost &&
	    f->port != p->tunnel_port)
		return decide(VERDICT_INBOUND, RULE_SELF_CALL);
	if (!uid && local && bypass_local && p->proxy_uid_count)
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (uid)
		return decide(VERDICT_PASS, RULE_SIDECAR);
	if (gid && (p->flags & POLICY_SELF_CALL_INBOUND) && local && !localhost &&
	    f->port != p->tunnel_port)
		return decide(VERDICT_INBOUND, RULE_SELF_CALL);
	if (!gid && local && bypass_local && p->proxy_gid_count)
		return decide(VERDICT_PASS, RULE_APP_LOCAL);
	if (gid)
		return decide(VERDICT_PASS, RULE_SIDECAR);

	if (localhost)
		return decide(VERDICT_PASS, RULE_LOCALHOST);
	if (POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_EXCLUDE, &f->daddr))
		return decide(VERDICT_PASS, RULE_EXCLUDED_CIDR);
	if (p->flags & POLICY_OUT_ALL)
		return decide(VERDICT_OUTBOUND, RULE_CAPTURE_ALL);
	if (POLICY_PORT_LISTED(f->policy_id, RULE_OUT_INCLUDE, f->port))
		return decide(VERDICT_OUTBOUND, RULE_INCLUDED_PORT);
	if (POLICY_CIDR_LISTED(f->policy_id, RULE_OUT_INCLUDE, &f->daddr))
		return decide(VERDICT_OUTBOUND, RULE_INCLUDED_CIDR);
	return decide(VERDICT_PASS, RULE_NOT_INCLUDED);
}

static __always_inline struct decision decide_inbound(const struct policy *p,
						      const struct inbound_facts *f)
{
	if (f->local)
		return decide(VERDICT_PASS, RULE_LOCAL_TRAFFIC);
	if (p->tunnel_port && f->port == p->tunnel_port)
		return decide(VERDICT_PASS, RULE_TUNNEL_PORT);
	if (p->flags & POLICY_IN_ALL) {
		if (POLICY_PORT_LISTED(f->policy_id, RULE_IN_EXCLUDE, f->port))
			return decide(VERDICT_PASS, RULE_EXCLUDED_PORT);
		return decide(VERDICT_INBOUND, RULE_CAPTURE_ALL);
	}
	if (POLICY_PORT_LISTED(f->policy_id, RULE_IN_INCLUDE, f->port))
		return decide(VERDICT_INBOUND, RULE_INCLUDED_PORT);
	return decide(VERDICT_PASS, RULE_NOT_INCLUDED);
}

#endif
