/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What every program includes: kernel types, helpers, the layout. */
#ifndef SHUNT_H
#define SHUNT_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "layout.h"
#include "address.h"

/* Values of the kernel's UAPI whose headers do not compile for the BPF target. */
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define SOL_IP 0
#define SOL_IPV6 41
#define SO_ORIGINAL_DST 80

/* Verdict of a cgroup hook: 1 lets the call go on, 0 fails it with EPERM. */
#define ALLOW 1
#define DENY 0

/*
 * Reads one context word at this place. The verifier wants a constant offset from
 * the context in each load; without the barrier clang joins two branches' loads into
 * one at a computed address.
 */
#define CTX_WORD(expr)                     \
	({                                 \
		__u32 word_ = (expr);      \
		barrier_var(word_);        \
		word_;                     \
	})

/*
 * Both ends of a socket or of a lookup: struct bpf_sock_ops and struct bpf_sk_lookup
 * name these words alike.
 */
#define READ_ADDRS(ctx, local, remote)                                                      \
	do {                                                                                \
		__u32 l4_ = CTX_WORD((ctx)->local_ip4), r4_ = CTX_WORD((ctx)->remote_ip4);  \
		__u32 l0_ = CTX_WORD((ctx)->local_ip6[0]), l1_ = CTX_WORD((ctx)->local_ip6[1]);   \
		__u32 l2_ = CTX_WORD((ctx)->local_ip6[2]), l3_ = CTX_WORD((ctx)->local_ip6[3]);   \
		__u32 r0_ = CTX_WORD((ctx)->remote_ip6[0]), r1_ = CTX_WORD((ctx)->remote_ip6[1]); \
		__u32 r2_ = CTX_WORD((ctx)->remote_ip6[2]), r3_ = CTX_WORD((ctx)->remote_ip6[3]); \
                                                                                            \
		if ((ctx)->family == AF_INET) {                                             \
			addr_set4(local, l4_);                                              \
			addr_set4(remote, r4_);                                             \
		} else {                                                                    \
			addr_set(local, l0_, l1_, l2_, l3_);                                \
			addr_set(remote, r0_, r1_, r2_, r3_);                               \
		}                                                                           \
	} while (0)

#endif
