/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef SHUNT_QUERIES_H
#define SHUNT_QUERIES_H

#include "shunt.h"

/* Of sockets whose queries were redirected; freed with them. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct queries);
} shunt_queries SEC(".maps");

#endif
