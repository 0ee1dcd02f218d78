// SPDX-License-Identifier: Apache-2.0
/*
 * Round trips over TCP with as little of its own in the way as can be: epoll,
 * non-blocking sockets, one request at a time.
 *
 *   pingpong serve PORT         echoes on 0.0.0.0 and [::]
 *   pingpong call ADDRESS PORT  reads lines "BYTES COUNT", answers each with one
 *                               line of COUNT round-trip times in nanoseconds;
 *                               keeps one connection all along
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 65536
#define CONNECTIONS_MAX 64

static char message[MESSAGE_MAX];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void no_delay(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		die("TCP_NODELAY");
}

static int listen_on(int family, in_port_t port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr *addr = family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6;
	socklen_t size = family == AF_INET ? sizeof(a4) : sizeof(a6);
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, addr, size) < 0 || listen(fd, 128) < 0)
		die("listen");
	return fd;
}

/* All of it: a full socket buffer is the only reason to wait, and it drains. */
static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return -1;
		if (sent > 0) {
			data += sent;
			size -= sent;
		}
	}
	return 0;
}

static int serve(in_port_t port)
{
	struct epoll_event events[CONNECTIONS_MAX];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int v4 = listen_on(AF_INET, port), v6 = listen_on(AF_INET6, port);

	watch(epoll, v4);
	if (v6 >= 0)
		watch(epoll, v6);
	for (;;) {
		int count = epoll_wait(epoll, events, CONNECTIONS_MAX, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			ssize_t got;

			if (fd == v4 || fd == v6) {
				int child = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

				if (child >= 0) {
					no_delay(child);
					watch(epoll, child);
				}
				continue;
			}
			got = recv(fd, message, sizeof(message), 0);
			if (got == 0 || (got < 0 && errno != EAGAIN) || (got > 0 && send_all(fd, message, got) < 0))
				close(fd);
		}
	}
}

static int connect_to(const char *address, in_port_t port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int family = strchr(address, ':') ? AF_INET6 : AF_INET;
	void *host = family == AF_INET ? (void *)&a4.sin_addr : (void *)&a6.sin6_addr;
	struct sockaddr *addr = family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (inet_pton(family, address, host) != 1)
		die("address");
	if (connect(fd, addr, family == AF_INET ? sizeof(a4) : sizeof(a6)) < 0)
		die("connect");
	no_delay(fd);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die("O_NONBLOCK");
	return fd;
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static long round_trip(int epoll, int fd, size_t size)
{
	long start = now_ns();
	size_t received = 0;

	if (send_all(fd, message, size) < 0)
		die("send");
	while (received < size) {
		struct epoll_event event;
		ssize_t got;

		if (epoll_wait(epoll, &event, 1, 10000) == 0) {
			fprintf(stderr, "no answer within 10 s\n");
			exit(1);
		}
		got = recv(fd, message, sizeof(message), 0);
		if (got == 0) {
			fprintf(stderr, "the connection was closed\n");
			exit(1);
		}
		if (got > 0)
			received += got;
		else if (errno != EAGAIN)
			die("recv");
	}
	return now_ns() - start;
}

static int call(const char *address, in_port_t port)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int fd = connect_to(address, port);
	size_t size, count;

	watch(epoll, fd);
	while (scanf("%zu %zu", &size, &count) == 2) {
		if (size == 0 || size > sizeof(message))
			return 2;
		for (size_t i = 0; i < count; i++)
			printf(i ? " %ld" : "%ld", round_trip(epoll, fd, size));
		printf("\n");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "call") == 0)
		return call(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: pingpong serve PORT | call ADDRESS PORT\n");
	return 2;
}
