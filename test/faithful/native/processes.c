// SPDX-License-Identifier: Apache-2.0
/* The same calls, made by a child. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "puppet.h"

#define MAX_WORDS 64

static void await(pid_t child)
{
	int status;

	if (child < 0)
		die("fork");
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "puppet: the child ended with status %d\n", status);
		exit(1);
	}
}

/* fork CALL WORD...: a child makes the call and answers */
static void call_fork(int argc, char **argv)
{
	pid_t child = fork();

	if (child == 0) {
		run_call(argc - 1, argv + 1);
		_exit(0);
	}
	await(child);
}

/* vfork CALL WORD...: another program, which inherits the sockets, makes the call and answers */
static void call_vfork(int argc, char **argv)
{
	char *words[MAX_WORDS] = { "puppet", "once" };
	pid_t child;

	for (int i = 1; i < argc && i + 2 < MAX_WORDS; i++)
		words[i + 1] = argv[i];
	child = vfork();
	if (child == 0) {
		execv("/proc/self/exe", words);
		_exit(127);
	}
	await(child);
}

const struct call process_calls[] = {
	{ "fork", 1, call_fork },
	{ "vfork", 1, call_vfork },
	{ NULL, 0, NULL },
};
