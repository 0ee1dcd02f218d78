// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Marks the sidecar's sockets when they bind, which is the last moment at which
 * the process is known: sockops, where they start to listen, has no identity.
 */
#include "shunt.h"
#include "pods.h"
#include "identity.h"
#include "roles.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int mark_sidecar(struct bpf_sock *sk)
{
	__u64 netns = bpf_get_netns_cookie(sk);
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &netns);
	struct listener_role role = { .netns = netns };
	const struct policy *policy;
	__u64 ids;

	if (!pod || sk->type != SOCK_STREAM)
		return ALLOW;
	policy = bpf_map_lookup_elem(&shunt_policies, &pod->policy);
	if (!policy)
		return ALLOW;
	ids = bpf_get_current_uid_gid();
	if (!policy_claims_sidecar(policy, ids, ids >> 32) || !in_sidecar_cgroup(pod))
		return ALLOW;
	bpf_sk_storage_get(&shunt_roles, sk, &role, BPF_SK_STORAGE_GET_F_CREATE);
	return ALLOW;
}

SEC("cgroup/post_bind4")
int shunt_bind4(struct bpf_sock *sk)
{
	return mark_sidecar(sk);
}

SEC("cgroup/post_bind6")
int shunt_bind6(struct bpf_sock *sk)
{
	return mark_sidecar(sk);
}
