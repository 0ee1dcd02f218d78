/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The policies' lists, and the decision over them. */
#ifndef SHUNT_RULES_H
#define SHUNT_RULES_H

#include "shunt.h"

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
