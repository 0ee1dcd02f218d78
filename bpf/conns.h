/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Per-socket state and the handshakes that join two sockets. */
#ifndef SHUNT_CONNS_H
#define SHUNT_CONNS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} shunt_conns SEC(".maps");

/* Cloned to accepted sockets, so that they know themselves to be the sidecar's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct listener_role);
} shunt_roles SEC(".maps");

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
