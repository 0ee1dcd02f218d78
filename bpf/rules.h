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
	__type(value, __u64);
} shunt_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct cidr_key);
	__type(value, __u32); /* enum rule_list, for people who dump it */
} shunt_cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct id_key);
	__type(value, __u64);
} shunt_ids SEC(".maps");

static __always_inline __u64 port_set(__u32 policy, enum rule_list list, __u16 port)
{
	struct port_key key = {
		.prefixlen = 64 + 16,
		.policy = policy,
		.list = list,
		.port = bpf_htons(port),
	};
	__u64 *set = bpf_map_lookup_elem(&shunt_ports, &key);

	return set ? *set : 0;
}

static __always_inline __u64 id_set(__u32 policy, enum id_list list, __u32 id)
{
	struct id_key key = {
		.prefixlen = 64 + 32,
		.policy = policy,
		.list = list,
		.id = bpf_htonl(id),
	};
	__u64 *set = bpf_map_lookup_elem(&shunt_ids, &key);

	return set ? *set : 0;
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

#define POLICY_PORT_SET(policy, list, port) port_set(policy, list, port)
#define POLICY_ID_SET(policy, list, id) id_set(policy, list, id)
#define POLICY_CIDR_LISTED(id, list, addr) cidr_listed(id, list, addr)
/* Adding and taking away what the verifier does not know leaves it without knowledge. */
#define POLICY_VALUE(facts, value)          \
	({                                  \
		__u32 value_ = (value);     \
		__u32 blur_ = (facts)->uid; \
                                            \
		value_ += blur_;            \
		barrier_var(value_);        \
		value_ -= blur_;            \
		barrier_var(value_);        \
		value_;                     \
	})
#include "policy.h"

#endif
