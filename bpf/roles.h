/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which sockets are the sidecar's. */
#ifndef SHUNT_ROLES_H
#define SHUNT_ROLES_H

#include "shunt.h"

/* Cloned to accepted sockets, so that they know themselves to be the sidecar's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct listener_role);
} shunt_roles SEC(".maps");

#endif
