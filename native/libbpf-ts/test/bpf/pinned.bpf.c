/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A map that libbpf pins by its name. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} kept SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
