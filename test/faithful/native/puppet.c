// SPDX-License-Identifier: Apache-2.0
/*
 *   puppet                    one call a line of standard input
 *   puppet once CALL WORD...  one call, for a program that another has executed
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "puppet.h"

#define MAX_WORDS 64

static const struct call *const tables[] = { socket_calls, option_calls, message_calls, process_calls,
					     server_calls, ring_calls,	 crowd_calls };

void run_call(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct call *call = tables[i]; call->name; call++) {
			if (strcmp(call->name, argv[0]) != 0)
				continue;
			if (argc - 1 < call->least) {
				fprintf(stderr, "puppet: %s wants %d words\n", call->name, call->least);
				exit(2);
			}
			call->run(argc, argv);
			return;
		}
	}
	fprintf(stderr, "puppet: no call %s\n", argv[0]);
	exit(2);
}

int main(int argc, char **argv)
{
	char line[4096];

	/* A write to a closed connection is an answer, EPIPE. */
	signal(SIGPIPE, SIG_IGN);
	if (argc > 2 && strcmp(argv[1], "once") == 0) {
		run_call(argc - 2, argv + 2);
		return 0;
	}
	while (fgets(line, sizeof(line), stdin)) {
		char *words[MAX_WORDS], *rest = NULL;
		int count = 0;

		for (char *word = strtok_r(line, " \n", &rest); word && count < MAX_WORDS;
		     word = strtok_r(NULL, " \n", &rest))
			words[count++] = word;
		if (count > 0)
			run_call(count, words);
	}
	return 0;
}
