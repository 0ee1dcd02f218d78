// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The same program for kernels before 5.15 that have no BTF, and for 5.8: accepted sockets have
 * their namespace from the sidecar's listener. Other listeners tell none, so that an application's
 * connections are no candidates for acceleration, which needs BTF anyway.
 */
#define NETNS_BY_ROLE
#include "sockops.bpf.c"
