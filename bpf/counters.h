/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Per-pod counters and the event ring. */
#ifndef SHUNT_COUNTERS_H
#define SHUNT_COUNTERS_H

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct counters);
} shunt_counters SEC(".maps");

/* Keeps the names in BTF, from which user space reads them. */
const enum counter *shunt_counter_type __attribute__((unused));

static __always_inline void count(__u64 netns, enum counter index)
{
	struct counters *c = bpf_map_lookup_elem(&shunt_counters, &netns);

	if (c && index < COUNTER_MAX)
		c->values[index]++;
}

#endif
