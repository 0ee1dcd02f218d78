/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Tells of every IPv4 connection out of a cgroup, and counts them by port. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct connection {
	__be32 address;
	__be16 port;
	__u16 pad;
	__u32 pid;
	char comm[16];
};

/* Puts the type into BTF: a ring buffer does not say what is in it. */
const struct connection *unused_connection __attribute__((unused));

/* Connections to this port are refused; 0 = none. Fixed at load. */
const volatile __u16 refused_port = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} connections SEC(".maps");

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	__u16 port = bpf_ntohs(ctx->user_port);
	__u64 one = 1, *count = bpf_map_lookup_elem(&counts, &port);
	struct connection *connection;

	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&counts, &port, &one, BPF_NOEXIST);

	connection = bpf_ringbuf_reserve(&connections, sizeof(*connection), 0);
	if (connection) {
		connection->address = ctx->user_ip4;
		connection->port = ctx->user_port;
		connection->pad = 0;
		connection->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(connection->comm, sizeof(connection->comm));
		bpf_ringbuf_submit(connection, 0);
	}
	return port != refused_port || !refused_port;
}

char LICENSE[] SEC("license") = "GPL";
