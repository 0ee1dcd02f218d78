/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* State of a socket, freed with it. */
#ifndef SHUNT_CONNS_H
#define SHUNT_CONNS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} shunt_conns SEC(".maps");

#endif
