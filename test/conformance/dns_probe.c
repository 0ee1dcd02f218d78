// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Queries over UDP, and who answers them. Text for a query is all it takes: rules look at ports.
 *
 *   serve NAME ADDRESS PORT   answers every datagram with "NAME PEER"
 *   ask HOW CGROUP.PROCS UID SERVER...   one socket for all servers, port 53. HOW:
 *     connected    connects to each before it asks
 *     unconnected  names the server with each query
 *     mapped       the same on an IPv6 socket
 *     at-once      the same with all queries in one sendmmsg
 *     mixed        connects to the first, and names the others with their queries
 *     parted       connects to the first, disconnects, and names the others; the first is not asked
 *     A line for each query: "from=... peer=... answer=..."
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static socklen_t address(const char *text, int port, int mapped, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *six = (void *)out;
	struct sockaddr_in *four = (void *)out;
	char buffer[64];

	memset(out, 0, sizeof(*out));
	if (!mapped && inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	snprintf(buffer, sizeof(buffer), "%s%s", mapped ? "::ffff:" : "", text);
	if (inet_pton(AF_INET6, buffer, &six->sin6_addr) != 1)
		die(text);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

static const char *name_of(const struct sockaddr_storage *a, char *out)
{
	char text[64] = "";
	int port;

	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *four = (const void *)a;

		inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
		port = ntohs(four->sin_port);
	} else {
		const struct sockaddr_in6 *six = (const void *)a;

		inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
		port = ntohs(six->sin6_port);
	}
	sprintf(out, "%s#%d", text, port);
	return out;
}

static int serve(const char *name, const char *host, int port)
{
	struct sockaddr_storage at, peer;
	socklen_t length = address(host, port, 0, &at);
	int fd = socket(at.ss_family, SOCK_DGRAM, 0), one = 1;
	char query[512], answer[256], text[96];

	if (at.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (fd < 0 || bind(fd, (void *)&at, length))
		die("bind");
	puts("ready");
	fflush(stdout);
	for (;;) {
		length = sizeof(peer);
		if (recvfrom(fd, query, sizeof(query), 0, (void *)&peer, &length) < 0)
			die("recvfrom");
		snprintf(answer, sizeof(answer), "%s %s", name, name_of(&peer, text));
		sendto(fd, answer, strlen(answer), 0, (void *)&peer, length);
	}
}

static void become(const char *procs, int uid)
{
	int fd = open(procs, O_WRONLY);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
	if (setgroups(0, 0) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		die("setresuid");
}

static int send_at_once(int fd, struct sockaddr_storage *to, socklen_t length, int count, char **texts)
{
	struct mmsghdr messages[8] = {};
	struct iovec parts[8];

	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){ .iov_base = texts[i], .iov_len = strlen(texts[i]) };
		messages[i].msg_hdr = (struct msghdr){
			.msg_name = &to[i], .msg_namelen = length, .msg_iov = &parts[i], .msg_iovlen = 1,
		};
	}
	return sendmmsg(fd, messages, count, 0) == count ? 0 : -1;
}

static int ask(const char *how, int count, char **servers)
{
	int connected = !strcmp(how, "connected"), mapped = !strcmp(how, "mapped");
	int at_once = !strcmp(how, "at-once"), mixed = !strcmp(how, "mixed"), parted = !strcmp(how, "parted");
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct timeval patience = { .tv_sec = 2 };
	struct sockaddr_storage to[8], from;
	char text[96], answers[8][256], froms[8][96];
	socklen_t length = 0;
	int fd;

	for (int i = 0; i < count; i++)
		length = address(servers[i], 53, mapped, &to[i]);
	fd = socket(to[0].ss_family, SOCK_DGRAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (at_once && send_at_once(fd, to, length, count, servers))
		die("sendmmsg");
	/* All queries first, so that answers of several servers wait at once. */
	for (int i = 0; i < count && !at_once; i++) {
		int connects = connected || ((mixed || parted) && i == 0);
		long sent;

		if (connects && connect(fd, (void *)&to[i], length))
			die("connect");
		if (parted && i == 0) {
			if (connect(fd, &nobody, sizeof(nobody)))
				die("AF_UNSPEC");
			continue;
		}
		sent = connects ? send(fd, servers[i], strlen(servers[i]), 0) :
				  sendto(fd, servers[i], strlen(servers[i]), 0, (void *)&to[i], length);
		if (sent < 0)
			die("send");
	}
	for (int i = parted; i < count; i++) {
		socklen_t size = sizeof(from);
		long got = recvfrom(fd, answers[i], 255, 0, (void *)&from, &size);

		answers[i][got < 0 ? 0 : got] = 0;
		strcpy(froms[i], got < 0 ? "none" : name_of(&from, text));
	}
	for (int i = parted; i < count; i++) {
		struct sockaddr_storage peer;
		socklen_t size = sizeof(peer);
		int known = !getpeername(fd, (void *)&peer, &size);

		printf("from=%s peer=%s answer=%s\n", froms[i], known ? name_of(&peer, text) : "none",
		       answers[i]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argv[3], atoi(argv[4]));
	if (argc > 5 && argc <= 13 && !strcmp(argv[1], "ask")) {
		become(argv[3], atoi(argv[4]));
		return ask(argv[2], argc - 5, argv + 5);
	}
	fprintf(stderr, "usage: serve NAME ADDRESS PORT | ask HOW CGROUP.PROCS UID SERVER...\n");
	return 2;
}
