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
#define IPPROTO_TCP 6
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

#endif
