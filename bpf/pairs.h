/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Handshakes in flight, which join two sockets. */
#ifndef SHUNT_PAIRS_H
#define SHUNT_PAIRS_H

#include "shunt.h"

/* Never evicted: an entry lost here is an original destination lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pair_key);
	__type(value, struct pair);
} shunt_pairs SEC(".maps");

/* Eviction here only costs an acceleration. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pair_key);
	__type(value, struct pair);
} shunt_offers SEC(".maps");

#endif
