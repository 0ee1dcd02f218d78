/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Refused for another reason than `rejected`, so that two failing loads at once can be told apart. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/connect4")
int uninitialized(struct bpf_sock_addr *ctx)
{
	int value;

	asm volatile("%0 = r9" : "=r"(value));
	return value & 1;
}

char LICENSE[] SEC("license") = "GPL";
