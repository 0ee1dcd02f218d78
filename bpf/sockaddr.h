/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * struct sockaddr_in and sockaddr_in6, whose headers do not compile for the BPF target.
 *
 * Set field by field: clang keeps an initializer's constants as .rodata with no variable in it,
 * whose BTF 5.10 refuses with EINVAL, and with it every socket storage.
 */
#ifndef SHUNT_SOCKADDR_H
#define SHUNT_SOCKADDR_H

#include "shunt.h"

struct sockaddr4 {
	__u16 family;
	__be16 port;
	__u32 ip;
	__u8 zero[8];
};

struct sockaddr6 {
	__u16 family;
	__be16 port;
	__u32 flowinfo;
	struct addr addr;
	__u32 scope_id;
};

#endif
