// SPDX-License-Identifier: Apache-2.0
/* Many connections: each checked against what its server says of it, or each ended in a way of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "puppet.h"

#define MAX_THREADS 64
#define ANSWER_TIMEOUT_MS 20000

struct share {
	const char *prefix; /* of the addresses: "198.18." or "2001:db8:18::" */
	unsigned seed;
	long count;
	int first_port, ports;
	long right, wrong, failed;
	char example[256]; /* of what was not right */
};

/* The value of a key of a greeting; empty when there is none. */
static void value_of(const char *line, const char *key, char value[TEXT])
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), "\"%s\":\"", key);
	at = strstr(line, pattern);
	snprintf(value, TEXT, "%.*s", at ? (int)strcspn(at + strlen(pattern), "\"") : 0,
		 at ? at + strlen(pattern) : "");
}

static void check_one(struct share *share, const char *host, const char *port)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(host, port, &address);
	char asked[TEXT], line[1024] = "", original[TEXT], landing[TEXT], peer[TEXT];
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	show_address(&address, size, asked);
	if (connect(fd, (void *)&address, size)) {
		share->failed++;
		snprintf(share->example, sizeof(share->example), "%s: %s", asked, error_name(errno));
	} else {
		read_line(fd, line, sizeof(line), ANSWER_TIMEOUT_MS);
		value_of(line, "landing", landing);
		/* Who was not redirected to is where one wanted to go. */
		value_of(line, strncmp(landing, "sidecar", 7) == 0 ? "original" : "on", original);
		if (strcmp(original, asked) == 0 && strcmp(peer_of(fd, peer), asked) == 0) {
			share->right++;
		} else {
			share->wrong++;
			snprintf(share->example, sizeof(share->example), "%.60s: %.160s", asked, line);
		}
	}
	close(fd);
}

static void *check_share(void *argument)
{
	struct share *share = argument;
	int ip4 = strchr(share->prefix, ':') == NULL;
	char host[TEXT], port[16];

	for (long i = 0; i < share->count; i++) {
		unsigned low = rand_r(&share->seed), high = rand_r(&share->seed);

		if (ip4)
			snprintf(host, sizeof(host), "%s%u.%u", share->prefix, low % 256, high % 254 + 1);
		else
			snprintf(host, sizeof(host), "%s%x:%x", share->prefix, low % 0xfffe + 1,
				 high % 0xfffe + 1);
		snprintf(port, sizeof(port), "%d",
			 share->first_port + rand_r(&share->seed) % share->ports);
		check_one(share, host, port);
	}
	return NULL;
}

/* crowd COUNT THREADS SEED FIRST-PORT PORTS PREFIX...: connections to addresses and ports at random */
static void call_crowd(int argc, char **argv)
{
	struct share shares[MAX_THREADS] = { 0 };
	pthread_t threads[MAX_THREADS];
	long count = atol(argv[1]), right = 0, wrong = 0, failed = 0;
	int many = atoi(argv[2]);

	for (int i = 0; i < many; i++) {
		shares[i] = (struct share){ .prefix = argv[6 + i % (argc - 6)],
					    .seed = atoi(argv[3]) + i,
					    .count = count / many,
					    .first_port = atoi(argv[4]),
					    .ports = atoi(argv[5]) };
		if (pthread_create(&threads[i], NULL, check_share, &shares[i]))
			die("pthread_create");
	}
	for (int i = 0; i < many; i++) {
		pthread_join(threads[i], NULL);
		right += shares[i].right;
		wrong += shares[i].wrong;
		failed += shares[i].failed;
		if (shares[i].example[0])
			fprintf(stderr, "puppet: crowd: %s\n", shares[i].example);
	}
	answer_number("right", right);
	answer_number("wrong", wrong);
	answer_number("failed", failed);
	answer_end();
}

static int end_one(const char *how, const struct sockaddr_storage *to, socklen_t size)
{
	struct sockaddr_storage unspecified = { .ss_family = AF_UNSPEC };
	struct linger now = { 1, 0 };
	char line[1024];
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		die("socket");
	if (strcmp(how, "abandon") == 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, (const void *)to, size))
		error = errno;
	else if (strcmp(how, "whole") == 0)
		/* The greeting, and the end of the stream: the server closes first. */
		while (read_line(fd, line, sizeof(line), ANSWER_TIMEOUT_MS) >= 0)
			;
	else if (strcmp(how, "reset") == 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	else if (strcmp(how, "unspecified") == 0)
		connect(fd, (void *)&unspecified, sizeof(unspecified));
	close(fd);
	return error;
}

/*
 * burst HOW COUNT HOST PORT: connections one after the other, each ended alike. HOW is `whole`, `reset` (RST),
 * `unspecified` (AF_UNSPEC) or `abandon` (closed before it is answered).
 */
static void call_burst(int argc, char **argv)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(argv[3], argv[4], &address);
	long count = atol(argv[2]), failed = 0, refused = 0;
	int last = 0;

	for (long i = 0; i < count; i++) {
		int error = end_one(argv[1], &address, size);

		if (error) {
			failed++;
			refused += error == ECONNREFUSED;
			last = error;
		}
	}
	answer_number("done", count - failed);
	answer_number("failed", failed);
	answer_number("refused", refused);
	answer_text("error", last ? error_name(last) : "none");
	answer_end();
}

static int compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

/* time-connects COUNT HOST PORT: the median of what connect() takes, however it ends, in nanoseconds */
static void call_time_connects(int argc, char **argv)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(argv[2], argv[3], &address);
	long count = atol(argv[1]), *took = calloc(count, sizeof(*took));
	struct linger now = { 1, 0 };
	int last = 0;

	for (long i = 0; i < count; i++) {
		int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct timespec start, end;

		if (fd < 0)
			die("socket");
		/* No TIME_WAIT: ports last, and tables stay small. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		clock_gettime(CLOCK_MONOTONIC, &start);
		if (connect(fd, (void *)&address, size))
			last = errno;
		clock_gettime(CLOCK_MONOTONIC, &end);
		took[i] = (end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec;
		close(fd);
	}
	qsort(took, count, sizeof(*took), compare);
	answer_number("median_ns", took[count / 2]);
	answer_text("error", last ? error_name(last) : "none");
	answer_end();
	free(took);
}

const struct call crowd_calls[] = {
	{ "crowd", 6, call_crowd },
	{ "burst", 4, call_burst },
	{ "time-connects", 3, call_time_connects },
	{ NULL, 0, NULL },
};
