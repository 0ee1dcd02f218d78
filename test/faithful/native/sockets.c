// SPDX-License-Identifier: Apache-2.0
/* Calls on a socket itself: from socket() to close(). A socket is named by its descriptor. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "puppet.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int word_of(const char *word, const char *const *names, const int *values)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(word, names[i]) == 0)
			return values[i];
	errno = EINVAL;
	die(word);
}

/* socket inet|inet6|unix stream|datagram tcp|mptcp|default */
static void call_socket(int argc, char **argv)
{
	static const char *const families[] = { "inet", "inet6", "unix", NULL };
	static const int family_values[] = { AF_INET, AF_INET6, AF_UNIX };
	static const char *const types[] = { "stream", "datagram", NULL };
	static const int type_values[] = { SOCK_STREAM, SOCK_DGRAM };
	static const char *const protocols[] = { "tcp", "mptcp", "default", NULL };
	static const int protocol_values[] = { IPPROTO_TCP, IPPROTO_MPTCP, 0 };
	int fd = socket(word_of(argv[1], families, family_values), word_of(argv[2], types, type_values),
			word_of(argv[3], protocols, protocol_values));

	answer_result(fd);
	if (fd >= 0)
		answer_number("fd", fd);
	answer_end();
}

/* bind FD HOST PORT */
static void call_bind(int argc, char **argv)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(argv[2], argv[3], &address);

	answer_result(bind(atoi(argv[1]), (void *)&address, size));
	answer_end();
}

/* connect FD HOST PORT */
static void call_connect(int argc, char **argv)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(argv[2], argv[3], &address);

	answer_result(connect(atoi(argv[1]), (void *)&address, size));
	answer_end();
}

/* disconnect FD: connect() to AF_UNSPEC */
static void call_disconnect(int argc, char **argv)
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };

	answer_result(connect(atoi(argv[1]), (void *)&address, sizeof(struct sockaddr_in)));
	answer_end();
}

/* listen FD BACKLOG */
static void call_listen(int argc, char **argv)
{
	answer_result(listen(atoi(argv[1]), atoi(argv[2])));
	answer_end();
}

/* accept FD [nonblock] [cloexec] */
static void call_accept(int argc, char **argv)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);
	char text[TEXT];
	int flags = 0, fd;

	for (int i = 2; i < argc; i++)
		flags |= strcmp(argv[i], "nonblock") == 0 ? SOCK_NONBLOCK : SOCK_CLOEXEC;
	fd = accept4(atoi(argv[1]), (void *)&address, &size, flags);
	answer_result(fd);
	if (fd >= 0) {
		answer_number("fd", fd);
		answer_text("from", show_address(&address, size, text));
	}
	answer_end();
}

/* names FD */
static void call_names(int argc, char **argv)
{
	char local[TEXT], peer[TEXT];

	answer_text("local", local_of(atoi(argv[1]), local));
	answer_text("peer", peer_of(atoi(argv[1]), peer));
	answer_end();
}

/* shutdown FD read|write|both */
static void call_shutdown(int argc, char **argv)
{
	static const char *const names[] = { "read", "write", "both", NULL };
	static const int values[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };

	answer_result(shutdown(atoi(argv[1]), word_of(argv[2], names, values)));
	answer_end();
}

/* close FD */
static void call_close(int argc, char **argv)
{
	answer_result(close(atoi(argv[1])));
	answer_end();
}

/* dup FD */
static void call_dup(int argc, char **argv)
{
	int fd = dup(atoi(argv[1]));

	answer_result(fd);
	if (fd >= 0)
		answer_number("fd", fd);
	answer_end();
}

/* blocking FD yes|no */
static void call_blocking(int argc, char **argv)
{
	int fd = atoi(argv[1]), flags = fcntl(fd, F_GETFL);

	flags = strcmp(argv[2], "yes") == 0 ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
	answer_result(fcntl(fd, F_SETFL, flags));
	answer_end();
}

/* flags FD */
static void call_flags(int argc, char **argv)
{
	int fd = atoi(argv[1]);

	answer_json("nonblock", fcntl(fd, F_GETFL) & O_NONBLOCK ? "true" : "false");
	answer_json("cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC ? "true" : "false");
	answer_end();
}

const struct call socket_calls[] = {
	{ "socket", 3, call_socket },	    { "bind", 3, call_bind },	    { "connect", 3, call_connect },
	{ "disconnect", 1, call_disconnect }, { "listen", 2, call_listen }, { "accept", 1, call_accept },
	{ "names", 1, call_names },	    { "shutdown", 2, call_shutdown }, { "close", 1, call_close },
	{ "dup", 1, call_dup },		    { "blocking", 2, call_blocking }, { "flags", 1, call_flags },
	{ NULL, 0, NULL },
};
