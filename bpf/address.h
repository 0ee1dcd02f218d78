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

static __always_inline bool addr_is4(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	return !x.w[0] && !x.w[1] && x.w[2] == bpf_htonl(0xffff);
}

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	struct addr_words x = addr_words(a), y = addr_words(b);

	return x.w[0] == y.w[0] && x.w[1] == y.w[1] && x.w[2] == y.w[2] && x.w[3] == y.w[3];
}

/* Low word of a v6 address whose other three are zero, e.g. ::1; else -1. */
static __always_inline __s64 addr_small6(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	if (x.w[0] || x.w[1] || x.w[2])
		return -1;
	return bpf_htonl(x.w[3]);
}

/* 127.0.0.0/8 or ::1: what routes to lo in every namespace. */
static __always_inline bool addr_is_loopback(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	if (addr_is4(a))
		return (x.w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return addr_small6(a) == 1;
}

/* 0.0.0.0 or ::, which connect() takes as localhost. */
static __always_inline bool addr_is_any(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	return addr_is4(a) ? !x.w[3] : addr_small6(a) == 0;
}

/* 127.0.0.1/32 or ::1/128: the range Istio's rules call localhost. */
static __always_inline bool addr_is_localhost(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	return addr_is4(a) ? x.w[3] == bpf_htonl(0x7f000001) : addr_small6(a) == 1;
}

/* 127.0.0.6 or ::6: the source of a sidecar's own way to its application. */
static __always_inline bool addr_is_passthrough(const struct addr *a)
{
	struct addr_words x = addr_words(a);

	return addr_is4(a) ? x.w[3] == bpf_htonl(0x7f000006) : addr_small6(a) == 6;
}

#endif
