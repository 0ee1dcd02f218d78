// SPDX-License-Identifier: Apache-2.0
/* multipath PORT... : listens with MPTCP, as programs in Go >= 1.24 do, and answers every connection with its own port. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define MAX_LISTENERS 8

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "multipath: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	struct pollfd polled[MAX_LISTENERS];
	int count = argc - 1, one = 1;

	if (count < 1 || count > MAX_LISTENERS)
		return 2;
	for (int i = 0; i < count; i++) {
		struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[i + 1])) };
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);

		need(fd, "socket");
		need(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "setsockopt");
		need(bind(fd, (void *)&at, sizeof(at)), "bind");
		need(listen(fd, 16), "listen");
		polled[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	dprintf(1, "ready\n");
	for (;;) {
		need(poll(polled, count, -1), "poll");
		for (int i = 0; i < count; i++) {
			int fd;

			if (!polled[i].revents)
				continue;
			fd = accept(polled[i].fd, NULL, NULL);
			if (fd < 0)
				continue;
			dprintf(fd, "%s\n", argv[i + 1]);
			close(fd);
		}
	}
}
