/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef SHUNT_EVENTS_H
#define SHUNT_EVENTS_H

#include "counters.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} shunt_events SEC(".maps");

/* Keeps struct event in BTF: a ring buffer has no value type of its own. */
const struct event *shunt_event_type __attribute__((unused));

/* Reserves an event; a full ring is counted and costs the event, nothing else. */
static __always_inline struct event *event_reserve(__u64 netns, enum event_kind kind,
						   const struct endpoint *dst)
{
	struct event *e = bpf_ringbuf_reserve(&shunt_events, sizeof(*e), 0);

	if (!e) {
		count(netns, COUNTER_EVENT_LOST);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->netns = netns;
	e->kind = kind;
	e->dst = *dst;
	return e;
}

/* Submits with the calling process's identity; process context only. */
static __always_inline void event_of_process(__u64 netns, enum event_kind kind,
					     const struct endpoint *dst)
{
	struct event *e = event_reserve(netns, kind, dst);
	__u64 ids;

	if (!e)
		return;
	ids = bpf_get_current_uid_gid();
	e->uid = ids;
	e->gid = ids >> 32;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
}

/* Submits without a process: softirq, or a hook that has no current task. */
static __always_inline void event_of_socket(__u64 netns, enum event_kind kind,
					    const struct endpoint *dst)
{
	struct event *e = event_reserve(netns, kind, dst);

	if (e)
		bpf_ringbuf_submit(e, 0);
}

#endif
