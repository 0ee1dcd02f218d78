/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verifier refuses `careless`: it reads a map value without the NULL check. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} values SEC(".maps");

SEC("cgroup/connect4")
int sound(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("cgroup/connect4")
int careless(struct bpf_sock_addr *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&values, &key);

	return *value == 1;
}

char LICENSE[] SEC("license") = "GPL";
