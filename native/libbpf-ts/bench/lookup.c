/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a lookup costs without Node: lookup MAP_ID KEYS ROUNDS prints nanoseconds a lookup, one line a round. */
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	union bpf_attr attr = { .map_id = atoi(argv[1]) };
	uint64_t keys = strtoull(argv[2], NULL, 10), key;
	int fd = bpf(BPF_MAP_GET_FD_BY_ID, &attr);
	char value[16];

	if (fd < 0)
		return 1;
	for (int round = 0; round < atoi(argv[3]); round++) {
		uint64_t start = now_ns();

		for (key = 0; key < keys; key++) {
			memset(&attr, 0, sizeof(attr));
			attr.map_fd = fd;
			attr.key = (uintptr_t)&key;
			attr.value = (uintptr_t)value;
			if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
				return 1;
		}
		printf("%.1f\n", (double)(now_ns() - start) / keys);
	}
	return 0;
}
