/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether a process claims to be the sidecar. Pure C: no helpers, no maps. */
#ifndef SHUNT_IDENTITY_H
#define SHUNT_IDENTITY_H

#include "address.h"

static __always_inline bool policy_uid_listed(const struct policy *p, __u32 uid)
{
#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		if (i < p->proxy_uid_count && p->proxy_uids[i] == uid)
			return true;
	return false;
}

static __always_inline bool policy_gid_listed(const struct policy *p, __u32 gid)
{
#pragma unroll
	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		if (i < p->proxy_gid_count && p->proxy_gids[i] == gid)
			return true;
	return false;
}

/* Runs under the sidecar's uid or gid, whoever it is. */
static __always_inline bool policy_claims_sidecar(const struct policy *p, __u32 uid, __u32 gid)
{
	return policy_uid_listed(p, uid) || policy_gid_listed(p, gid);
}

#endif
