/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Addresses of enrolled pods. */
#ifndef SHUNT_ADDRS_H
#define SHUNT_ADDRS_H

#include "shunt.h"

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

/* Pod that owns the address: 0 = none here. Ask netns 0 for any pod of the node. */
static __always_inline __u64 addr_owner(__u64 netns, const struct addr *a)
{
	struct addr_key key = { .netns = netns, .addr = *a };
	__u64 *owner = bpf_map_lookup_elem(&shunt_addrs, &key);

	return owner ? *owner : 0;
}

#endif
