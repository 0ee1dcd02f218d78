// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Tells the agent the cookie of a namespace on kernels that have no SO_NETNS_COOKIE (before 5.14). Attached for
 * a moment to a cgroup that the agent made, which holds one process: it opens one socket in that namespace.
 */
#include "shunt.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} shunt_cookie SEC(".maps");

SEC("cgroup/sock_create")
int shunt_see_cookie(struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_netns_cookie(sk);
	__u32 zero = 0;

	bpf_map_update_elem(&shunt_cookie, &zero, &cookie, BPF_ANY);
	return ALLOW;
}
