/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The network namespace's cookie where sockops has no helper for it (before 5.15): read from the kernel's own structures. */
#ifndef SHUNT_NETNS_H
#define SHUNT_NETNS_H

#include "shunt.h"
#include "kernel.h"
#include <bpf/bpf_core_read.h>

/*
 * Made when first asked for until 5.12; the agent asks before it enrolls a pod. 0 for a namespace that nobody asked
 * for: no pod's.
 */
static __always_inline __u64 netns_of(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct net *net;

	if (!tp)
		return 0;
	net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	if (bpf_core_field_exists(net->net_cookie))
		return net->net_cookie;
	return ((struct net___lazy *)net)->net_cookie.counter;
}

#endif
