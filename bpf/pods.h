/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who is enrolled, and under which policy. Filled by the agent. */
#ifndef SHUNT_PODS_H
#define SHUNT_PODS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* netns cookie */
	__type(value, struct pod);
} shunt_pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct policy);
} shunt_policies SEC(".maps");

/*
 * How far below the root of the hierarchy the agent's cgroup namespace may have its own, which it takes for depth 0: a
 * node that is a container (kind, k3d, minikube) has it at 1 or 2, more where that runs in another container.
 */
#define CGROUPNS_DEPTH 8

/* True as well where the sidecar's cgroup is not known: uid and gid alone tell then. */
static __always_inline bool in_sidecar_cgroup(const struct pod *pod)
{
	if (!(pod->flags & POD_CGROUP_KNOWN))
		return true;
	/* The ancestor at that depth, so that a process in a child cgroup counts too. */
	for (int above = 0; above <= CGROUPNS_DEPTH; above++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(pod->sidecar_cgroup_level + above);

		if (id == pod->sidecar_cgroup)
			return true;
		if (id == 0) /* deeper than the process is */
			return false;
	}
	return false;
}

#endif
