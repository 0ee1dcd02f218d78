/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Addresses in the one 16-byte form of layout.h. Pure C: no helpers, no maps. */
#ifndef SHUNT_ADDRESS_H
#define SHUNT_ADDRESS_H

#ifndef bpf_htonl
#include <arpa/inet.h>
#define bpf_htonl htonl
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* The four words of an address, network order, without aliasing trouble. */
struct addr_words {
	__u32 w[4];
};

static __always_inline struct addr_words addr_words(const struct addr *a)
{
	struct addr_words out;

	__builtin_memcpy(&out, a, sizeof(out));
	return out;
}

static __always_inline void addr_set(struct addr *a, __u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	struct addr_words in = { { w0, w1, w2, w3 } };

	__builtin_memcpy(a, &in, sizeof(in));
}

static __always_inline void addr_set4(struct addr *a, __u32 ip4)
{
	addr_set(a, 0, 0, bpf_htonl(0xffff), ip4);
}

/*
 * Without a branch: the verifier follows both ways of each, and remembers which one it
 * came by in every copy of the value.
 */
static __always_inline __u32 is_zero(__u64 value)
{
	value = ~(value | -value) >> 63;
#ifdef barrier_var
	barrier_var(value);
#endif
	return value;
}

/* What an address is. */
enum addr_class {
	ADDR_IP4 = 1 << 0,
	/* 127.0.0.0/8 or ::1: what routes to lo in every namespace. */
	ADDR_LOOPBACK = 1 << 1,
	/* 127.0.0.1/32 or ::1/128: the range Istio's rules call localhost. */
	ADDR_LOCALHOST = 1 << 2,
	/* 0.0.0.0 or ::, which connect() takes as localhost. */
	ADDR_ANY = 1 << 3,
	/* 127.0.0.6 or ::6: the source of a sidecar's own way to its application. */
	ADDR_PASSTHROUGH = 1 << 4,
};

/* Every class that the address belongs to: bits of enum addr_class. */
static __always_inline __u32 addr_class(const struct addr *a)
{
	struct addr_words x = addr_words(a);
	__u32 high = x.w[0] | x.w[1];
	__u32 is4 = is_zero(high | (x.w[2] ^ bpf_htonl(0xffff)));
	/* Addresses of IPv6 whose first three words are zero, like ::1. */
	__u32 small6 = is_zero(high | x.w[2]);
	__u32 last1 = is_zero(x.w[3] ^ bpf_htonl(1));
	__u32 net127 = is_zero((x.w[3] ^ bpf_htonl(0x7f000000)) & bpf_htonl(0xff000000));
	__u32 loopback = (is4 & net127) | (small6 & last1);
	__u32 localhost = (is4 & is_zero(x.w[3] ^ bpf_htonl(0x7f000001))) | (small6 & last1);
	__u32 any = (is4 | small6) & is_zero(x.w[3]);
	__u32 passthrough = (is4 & is_zero(x.w[3] ^ bpf_htonl(0x7f000006))) |
			    (small6 & is_zero(x.w[3] ^ bpf_htonl(6)));

	return is4 * ADDR_IP4 + loopback * ADDR_LOOPBACK + localhost * ADDR_LOCALHOST +
	       any * ADDR_ANY + passthrough * ADDR_PASSTHROUGH;
}

static __always_inline bool addr_is4(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	return is_zero(x.w[0] | x.w[1] | (x.w[2] ^ bpf_htonl(0xffff)));
}

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	struct addr_words x = addr_words(a), y = addr_words(b);

	return x.w[0] == y.w[0] && x.w[1] == y.w[1] && x.w[2] == y.w[2] && x.w[3] == y.w[3];
}

static __always_inline bool addr_is_loopback(const struct addr *a)
{
	return addr_class(a) & ADDR_LOOPBACK;
}

static __always_inline bool addr_is_any(const struct addr *a)
{
	return addr_class(a) & ADDR_ANY;
}

static __always_inline bool addr_is_localhost(const struct addr *a)
{
	return addr_class(a) & ADDR_LOCALHOST;
}

static __always_inline bool addr_is_passthrough(const struct addr *a)
{
	return addr_class(a) & ADDR_PASSTHROUGH;
}

#endif
