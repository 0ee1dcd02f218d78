// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Inbound: a connection from outside the pod goes to the sidecar's listener,
 * whatever port it asked for, and keeps that port as its own address. One instance
 * per pod, because sk_lookup cannot ask for the namespace it runs in.
 *
 * Closed unless told otherwise: with no listener to steer to, or no policy to read,
 * the connection is refused and never reaches the application unprotected.
 */
#include "shunt.h"
#include "pods.h"
#include "addrs.h"
#include "rules.h"
#include "listeners.h"
#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * The netns cookie of the pod that this instance serves: set, and frozen, before it is
 * attached. No constant, so that instances can be loaded before there is a pod for them:
 * the verifier takes longer than all else of an enrolment.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} shunt_served SEC(".maps");

/*
 * By address: traffic to an own address reports the outer interface's index, so
 * ingress_ifindex cannot tell. A forged source cannot either: the answer to it would
 * stay inside the pod.
 */
static __always_inline bool from_inside(__u64 netns, const struct addr *local,
					const struct addr *remote)
{
	return addr_equal(local, remote) || addr_is_loopback(local) ||
	       addr_is_loopback(remote) || addr_is_passthrough(remote) ||
	       addr_owner(netns, remote);
}

/* True when the connection was given a listener of that family. */
static __always_inline bool steer(struct bpf_sk_lookup *ctx, __u64 netns, __u32 family)
{
	struct listener_key key = { .netns = netns, .family = family };

	for (__u32 i = 0; i < SHUNT_LISTENER_SLOTS; i++) {
		struct bpf_sock *sk;
		long err;

		key.slot = i;
		sk = bpf_map_lookup_elem(&shunt_listeners, &key);
		if (!sk)
			continue;
		err = bpf_sk_assign(ctx, sk, 0);
		bpf_sk_release(sk);
		if (!err)
			return true;
	}
	return false;
}

static __always_inline int refuse(__u64 netns, const struct addr *local, __u16 port,
				  __u16 family)
{
	struct endpoint dst = { .addr = *local, .port = bpf_htons(port), .family = family };

	count(netns, COUNTER_INBOUND_REFUSED);
	event_of_socket(netns, EVENT_INBOUND_REFUSED, &dst);
	return SK_DROP;
}

SEC("sk_lookup")
int shunt_inbound(struct bpf_sk_lookup *ctx)
{
	struct inbound_facts facts = {};
	struct addr local, remote;
	const struct policy *policy;
	struct pod *pod;
	__u16 family = ctx->family, port = ctx->local_port;
	__u64 *served, netns;
	__u32 zero = 0;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	served = bpf_map_lookup_elem(&shunt_served, &zero);
	if (!served) /* never: an array has all its entries */
		return SK_DROP;
	netns = *served;
	READ_ADDRS(ctx, &local, &remote);
	pod = bpf_map_lookup_elem(&shunt_pods, &netns);
	if (!pod) /* being enrolled or withdrawn: the pod's entry is the switch */
		return SK_PASS;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy)
		return refuse(netns, &local, port, family);
	facts.policy_id = pod->policy;
	facts.port = port;
	facts.local = from_inside(netns, &local, &remote);
	facts.remote = remote;
	if (decide_inbound(policy, &facts).verdict == VERDICT_PASS) {
		if (!facts.local)
			count(netns, COUNTER_INBOUND_PASSED);
		return SK_PASS;
	}
	/* Chosen by another program of this namespace, which ran before: that stands, and is told of. */
	if (ctx->sk) {
		count(netns, COUNTER_INBOUND_PASSED);
		return SK_PASS;
	}
	/* A dual-stack listener is an IPv6 socket that takes IPv4 as well. */
	if (steer(ctx, netns, family) ||
	    (family == AF_INET && steer(ctx, netns, AF_INET6))) {
		count(netns, COUNTER_INBOUND_STEERED);
		return SK_PASS;
	}
	return refuse(netns, &local, port, family);
}
