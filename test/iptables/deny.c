/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Runs a program on a lesser kernel: `deny bpf PROGRAM …` denies bpf(2) with EPERM, as container runtimes' seccomp
 * profiles do; `deny cookie PROGRAM …` knows no SO_NETNS_COOKIE, as before Linux 5.14; `deny link PROGRAM …` knows no
 * bpf_link, as before Linux 5.7.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COOKIE 71 /* SO_NETNS_COOKIE */
#define LINK_CREATE 28 /* of enum bpf_cmd */
#define DENY(errno) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (errno))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

static struct sock_filter no_bpf[] = { LOAD(nr), UNLESS(__NR_bpf, 1), DENY(EPERM), ALLOW };
static struct sock_filter no_cookie[] = {
	LOAD(nr), UNLESS(__NR_getsockopt, 3), LOAD(args[2]), UNLESS(COOKIE, 1), DENY(ENOPROTOOPT), ALLOW,
};
static struct sock_filter no_link[] = {
	LOAD(nr), UNLESS(__NR_bpf, 3), LOAD(args[0]), UNLESS(LINK_CREATE, 1), DENY(EINVAL), ALLOW,
};

static struct {
	const char *name;
	struct sock_fprog program;
} lacks[] = {
	{ "bpf", { sizeof(no_bpf) / sizeof(no_bpf[0]), no_bpf } },
	{ "cookie", { sizeof(no_cookie) / sizeof(no_cookie[0]), no_cookie } },
	{ "link", { sizeof(no_link) / sizeof(no_link[0]), no_link } },
};

int main(int argc, char **argv)
{
	struct sock_fprog *program = 0;

	for (unsigned i = 0; argc > 2 && i < sizeof(lacks) / sizeof(lacks[0]); i++)
		if (!strcmp(argv[1], lacks[i].name))
			program = &lacks[i].program;
	if (!program) {
		fprintf(stderr, "usage: deny bpf|cookie|link PROGRAM ...\n");
		return 2;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)) {
		perror("seccomp");
		return 2;
	}
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 2;
}
