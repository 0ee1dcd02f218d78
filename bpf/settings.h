/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Switches of the whole node, and what pinned the maps. */
#ifndef SHUNT_SETTINGS_H
#define SHUNT_SETTINGS_H

#include "shunt.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} shunt_settings SEC(".maps");

/* Read by the agent before it adopts anything; no program looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct meta);
} shunt_meta SEC(".maps");

static __always_inline const struct settings *settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&shunt_settings, &zero);
}

static __always_inline bool accel_enabled(void)
{
	const struct settings *s = settings_get();

	return s && (s->flags & SETTINGS_ACCEL);
}

/*
 * Sockets of a pod's applications may be accelerated. An application may ask how much there is
 * to read (FIONREAD), which some kernels do not tell of a socket in a sockhash; a sidecar reads
 * until there is nothing. An application whose pod opted in reads as a sidecar does.
 */
static __always_inline bool accel_of_apps(const struct pod *pod)
{
	const struct settings *s = settings_get();

	return s && (s->flags & SETTINGS_ACCEL) &&
	       ((s->flags & SETTINGS_ACCEL_APPS) || (pod->flags & POD_ACCEL_FULL));
}

#endif
