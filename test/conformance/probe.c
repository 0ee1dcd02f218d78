// SPDX-License-Identifier: Apache-2.0
/*
 * Both ends of a connection, and what each sees of it.
 *
 *   probe serve NAME ADDRESS:PORT...   ADDRESS is "any" or "localhost", in both families. Every connection is
 *                                      answered with one line, NAME PORT ORIGINAL LOCAL PEER, and closed.
 *   probe connect                      reads lines ID CGROUP UID GID SOURCE ADDRESS PORT ("-" for none); a process
 *                                      of that cgroup, user and group connects, and one line tells how it went:
 *                                      ID OUTCOME LOCAL PEER [what the other end wrote].
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Also IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv6/ip6_tables.h). */
#define ORIGINAL_DST SO_ORIGINAL_DST
#define TEXT 80
#define MAX_LISTENERS 64
#define CONNECT_TIMEOUT_MS 400
#define ANSWER_TIMEOUT_MS 2000

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *show(const struct sockaddr_storage *address, char *text)
{
	char host[INET6_ADDRSTRLEN];

	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)address;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, TEXT, "%s:%d", host, ntohs(in->sin_port));
	} else if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)address;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, TEXT, "[%s]:%d", host, ntohs(in6->sin6_port));
	} else {
		snprintf(text, TEXT, "family-%d", address->ss_family);
	}
	return text;
}

/* Returns the size of the address. */
static socklen_t parse(const char *host, int port, struct sockaddr_storage *address)
{
	struct sockaddr_in *in = (void *)address;
	struct sockaddr_in6 *in6 = (void *)address;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1) {
		errno = EINVAL;
		die(host);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static int listen_on(const char *host, int port)
{
	struct sockaddr_storage address;
	socklen_t size = parse(host, port, &address);
	int one = 1;
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		return -1;
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (void *)&address, size) || listen(fd, 128))
		die("listen");
	return fd;
}

/* Envoy gives room for 128 bytes, programs in Go for 32: both have to be told the same. */
static const char *original_of(int fd, int family, char *text)
{
	struct sockaddr_storage address;
	char again[TEXT];
	socklen_t sizes[] = { 32, sizeof(address) };

	for (int i = 0; i < 2; i++) {
		socklen_t size = sizes[i];

		memset(&address, 0, sizeof(address));
		if (getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, ORIGINAL_DST, &address, &size))
			snprintf(text, TEXT, "%s", strerrorname_np(errno));
		else
			show(&address, text);
		if (i == 0)
			strcpy(again, text);
	}
	return strcmp(again, text) == 0 ? text : "depends-on-size";
}

static void answer(int listener, const char *name, int port)
{
	struct sockaddr_storage peer, local;
	char peer_text[TEXT], local_text[TEXT], original_text[TEXT];
	socklen_t size = sizeof(peer);
	int fd = accept(listener, (void *)&peer, &size);

	if (fd < 0)
		return;
	size = sizeof(local);
	if (getsockname(fd, (void *)&local, &size))
		die("getsockname");
	dprintf(fd, "%s %d %s %s %s", name, port, original_of(fd, local.ss_family, original_text),
		show(&local, local_text), show(&peer, peer_text));
	close(fd);
}

static int serve(const char *name, char **where, int count)
{
	struct pollfd polled[MAX_LISTENERS];
	int ports[MAX_LISTENERS];
	int listeners = 0;

	for (int i = 0; i < count && listeners + 2 <= MAX_LISTENERS; i++) {
		char *colon = strchr(where[i], ':');
		int localhost = strncmp(where[i], "localhost:", 10) == 0;
		const char *hosts[] = { localhost ? "127.0.0.1" : "0.0.0.0", localhost ? "::1" : "::" };

		if (!colon)
			return 2;
		for (int family = 0; family < 2; family++) {
			int fd = listen_on(hosts[family], atoi(colon + 1));

			if (fd < 0)
				continue;
			ports[listeners] = atoi(colon + 1);
			polled[listeners++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
	}
	dprintf(1, "ready\n");
	for (;;) {
		if (poll(polled, listeners, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < listeners; i++)
			if (polled[i].revents)
				answer(polled[i].fd, name, ports[i]);
	}
}

/* Socket and owner are one: xt_owner asks for who made the socket. */
static void become(const char *cgroup, int uid, int gid)
{
	if (strcmp(cgroup, "-") != 0) {
		int fd = open(cgroup, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1)
			die(cgroup);
		close(fd);
	}
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		die("setresuid");
}

static const char *reach(int fd, const struct sockaddr_storage *to, socklen_t size)
{
	struct pollfd polled = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t length = sizeof(error);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, (const void *)to, size) == 0)
		return "connected";
	if (errno != EINPROGRESS)
		return strerrorname_np(errno);
	if (poll(&polled, 1, CONNECT_TIMEOUT_MS) == 0)
		return "ETIMEDOUT";
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error ? strerrorname_np(error) : "connected";
}

static void read_answer(int fd, char *text, int size)
{
	int length = 0;

	for (;;) {
		struct pollfd polled = { .fd = fd, .events = POLLIN };
		int got;

		if (poll(&polled, 1, ANSWER_TIMEOUT_MS) <= 0)
			break;
		got = read(fd, text + length, size - 1 - length);
		if (got <= 0)
			break;
		length += got;
	}
	text[length] = 0;
}

static void try_one(const char *line)
{
	char id[32], cgroup[512], source[64], host[64];
	char local_text[TEXT] = "-", peer_text[TEXT] = "-", text[512] = "", result[1024];
	struct sockaddr_storage to, from, local, peer;
	int uid, gid, port, fd, length;
	const char *outcome;
	socklen_t size;

	if (sscanf(line, "%31s %511s %d %d %63s %63s %d", id, cgroup, &uid, &gid, source, host, &port) != 7) {
		errno = EINVAL;
		die(line);
	}
	become(cgroup, uid, gid);
	size = parse(host, port, &to);
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	if (strcmp(source, "-") != 0) {
		socklen_t length = parse(source, 0, &from);

		if (bind(fd, (void *)&from, length))
			die("bind");
	}
	outcome = reach(fd, &to, size);
	if (strcmp(outcome, "connected") == 0) {
		read_answer(fd, text, sizeof(text));
		size = sizeof(local);
		if (getsockname(fd, (void *)&local, &size) == 0)
			show(&local, local_text);
		size = sizeof(peer);
		if (getpeername(fd, (void *)&peer, &size) == 0)
			show(&peer, peer_text);
		else
			snprintf(peer_text, TEXT, "%s", strerrorname_np(errno));
	}
	length = snprintf(result, sizeof(result), "%s %s %s %s %s\n", id, outcome, local_text, peer_text, text);
	/* One write of less than PIPE_BUF: lines of several processes do not mix. */
	if (write(1, result, length) != length)
		die("write");
}

int main(int argc, char **argv)
{
	char line[1024];

	signal(SIGCHLD, SIG_IGN);
	if (argc > 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], argv + 3, argc - 3);
	if (argc != 2 || strcmp(argv[1], "connect") != 0)
		return 2;
	while (fgets(line, sizeof(line), stdin)) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			try_one(line);
			_exit(0);
		}
	}
	return 0;
}
