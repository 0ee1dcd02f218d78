/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether a process claims to be the sidecar. Pure C: no helpers, no maps. */
#ifndef SHUNT_IDENTITY_H
#define SHUNT_IDENTITY_H

#include "address.h"

/* Which of the sidecar's uids this is, as bits: bit 0 for the first. 0 = none of them. */
static __always_inline __u32 policy_uid_bits(const struct policy *p, __u32 uid)
{
	__u32 bits = 0;

#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		bits |= is_zero(p->proxy_uids[i] ^ uid) << i;
	return bits;
}

static __always_inline __u32 policy_gid_bits(const struct policy *p, __u32 gid)
{
	__u32 bits = 0;

#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		bits |= is_zero(p->proxy_gids[i] ^ gid) << i;
	return bits;
}

/* Runs under the sidecar's uid or gid, whoever it is. */
static __always_inline bool policy_claims_sidecar(const struct policy *p, __u32 uid, __u32 gid)
{
	return policy_uid_bits(p, uid) | policy_gid_bits(p, gid);
}

#endif
