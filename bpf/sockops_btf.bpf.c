// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The same program for kernels before 5.15, whose sockops cannot ask for a namespace's cookie. */
#define NETNS_BY_BTF
#include "sockops.bpf.c"
