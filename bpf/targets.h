/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where sidecars take outbound connections. */
#ifndef SHUNT_TARGETS_H
#define SHUNT_TARGETS_H

#include "shunt.h"

/* Learnt from the listener; absent = the pod's own address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct target_key);
	__type(value, struct listening_at);
} shunt_targets SEC(".maps");

#endif
