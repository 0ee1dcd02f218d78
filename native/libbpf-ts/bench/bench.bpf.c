/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The map that is read and written, and a program that fills a ring when it is run by BPF_PROG_TEST_RUN. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct value {
	__u64 packets;
	__u32 backend;
	__be32 address;
};

struct sample {
	__u64 time_ns;
	__u32 number;
	__u32 kind;
};

const struct sample *unused_sample __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

SEC("tc")
int emit(struct __sk_buff *skb)
{
	struct sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);

	if (!sample)
		return 1;
	sample->time_ns = bpf_ktime_get_ns();
	sample->number = 1;
	sample->kind = 2;
	bpf_ringbuf_submit(sample, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
