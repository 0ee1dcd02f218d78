/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether a process claims to be the sidecar. Pure C: no helpers, no maps. */
#ifndef SHUNT_IDENTITY_H
#define SHUNT_IDENTITY_H

#include "address.h"

/* Place among the sidecar's uids; -1 when it is none of them. */
static __always_inline int policy_uid_index(const struct policy *p, __u32 uid)
{
#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		if (p->proxy_uids[i] == uid)
			return i;
	return -1;
}

static __always_inline int policy_gid_index(const struct policy *p, __u32 gid)
{
#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		if (p->proxy_gids[i] == gid)
			return i;
	return -1;
}

/* Runs under the sidecar's uid or gid, whoever it is. */
static __always_inline bool policy_claims_sidecar(const struct policy *p, __u32 uid, __u32 gid)
{
	return policy_uid_index(p, uid) >= 0 || policy_gid_index(p, gid) >= 0;
}

#endif
