/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef SHUNT_LISTENERS_H
#define SHUNT_LISTENERS_H

#include "shunt.h"

/* Sidecars' inbound listeners; the kernel drops one from here when it closes. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, struct listener_key);
	__type(value, __u64);
} shunt_listeners SEC(".maps");

#endif
