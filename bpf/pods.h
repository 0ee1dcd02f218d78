/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps the agent fills: pods, their addresses, policies and their lists. */
#ifndef SHUNT_PODS_H
#define SHUNT_PODS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* netns cookie */
	__type(value, struct pod);
} shunt_pods SEC(".maps");

/*
 * {netns cookie, address} -> netns cookie: the address is local to that pod.
 * {0, address} -> netns cookie: the enrolled pod on this node that owns it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct addr_key);
	__type(value, __u64);
} shunt_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct policy);
} shunt_policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct port_key);
	__type(value, __u32); /* enum rule_list, for people who dump it */
} shunt_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct cidr_key);
	__type(value, __u32);
} shunt_cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} shunt_settings SEC(".maps");

/* Read by the agent before it adopts anything; no program looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct meta);
} shunt_meta SEC(".maps");

static __always_inline const struct settings *settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&shunt_settings, &zero);
}

static __always_inline bool accel_enabled(void)
{
	const struct settings *s = settings_get();

	return s && (s->flags & SETTINGS_ACCEL);
}

/* Pod that owns the address: 0 = none here. Ask netns 0 for any pod of the node. */
static __always_inline __u64 addr_owner(__u64 netns, const struct addr *a)
{
	struct addr_key key = { .netns = netns, .addr = *a };
	__u64 *owner = bpf_map_lookup_elem(&shunt_addrs, &key);

	return owner ? *owner : 0;
}

static __always_inline bool port_listed(__u32 policy, enum rule_list list, __u16 port)
{
	struct port_key key = {
		.prefixlen = 64 + 16,
		.policy = policy,
		.list = list,
		.port = bpf_htons(port),
	};

	return bpf_map_lookup_elem(&shunt_ports, &key) != 0;
}

static __always_inline bool cidr_listed(__u32 policy, enum rule_list list, const struct addr *a)
{
	struct cidr_key key = {
		.prefixlen = 64 + 128,
		.policy = policy,
		.list = list,
		.addr = *a,
	};

	return bpf_map_lookup_elem(&shunt_cidrs, &key) != 0;
}

#define POLICY_PORT_LISTED(id, list, port) port_listed(id, list, port)
#define POLICY_CIDR_LISTED(id, list, addr) cidr_listed(id, list, addr)
#include "policy.h"

#endif
