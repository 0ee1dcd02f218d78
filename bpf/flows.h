/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections that may be accelerated. */
#ifndef SHUNT_FLOWS_H
#define SHUNT_FLOWS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* client's socket cookie */
	__type(value, struct peer);
} shunt_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* own socket cookie */
	__type(value, struct flow);
} shunt_flows SEC(".maps");

#endif
