// SPDX-License-Identifier: Apache-2.0
/* Answers as JSON, and addresses as text. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "puppet.h"

static char answer[65536];
static size_t length;

void die(const char *what)
{
	fprintf(stderr, "puppet: %s: %s\n", what, strerror(errno));
	exit(1);
}

const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "EUNKNOWN";
}

static void put(const char *text)
{
	size_t size = strlen(text);

	if (length + size >= sizeof(answer)) {
		errno = EMSGSIZE;
		die("answer");
	}
	memcpy(answer + length, text, size + 1);
	length += size;
}

static void put_key(const char *key)
{
	put(length == 0 ? "{\"" : ",\"");
	put(key);
	put("\":");
}

void answer_json(const char *key, const char *json)
{
	put_key(key);
	put(json);
}

void answer_number(const char *key, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	answer_json(key, text);
}

void answer_text(const char *key, const char *value)
{
	put_key(key);
	put("\"");
	for (const unsigned char *at = (const void *)value; *at; at++) {
		char text[8] = { (char)*at };

		if (*at < ' ' || *at == '"' || *at == '\\' || *at > '~')
			snprintf(text, sizeof(text), "\\u%04x", *at);
		put(text);
	}
	put("\"");
}

void answer_result(long returned)
{
	int error = errno;

	answer_text("result", returned < 0 ? error_name(error) : "ok");
}

void answer_end(void)
{
	put(length == 0 ? "{}\n" : "}\n");
	if (write(STDOUT_FILENO, answer, length) != (ssize_t)length)
		die("write");
	length = 0;
}

socklen_t parse_address(const char *host, const char *port, struct sockaddr_storage *address)
{
	struct sockaddr_in *in = (void *)address;
	struct sockaddr_in6 *in6 = (void *)address;
	struct sockaddr_un *un = (void *)address;

	memset(address, 0, sizeof(*address));
	if (host[0] == '@') {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1, "%s", host + 1);
		return offsetof(struct sockaddr_un, sun_path) + strlen(host);
	}
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(atoi(port));
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1) {
		errno = EINVAL;
		die(host);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(atoi(port));
	return sizeof(*in6);
}

const char *show_address(const struct sockaddr_storage *address, socklen_t size, char text[TEXT])
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;
	const struct sockaddr_un *un = (const void *)address;
	char host[INET6_ADDRSTRLEN];

	switch (address->ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, TEXT, "%s:%d", host, ntohs(in->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, TEXT, "[%s]:%d", host, ntohs(in6->sin6_port));
		break;
	case AF_UNIX:
		if (size <= offsetof(struct sockaddr_un, sun_path))
			snprintf(text, TEXT, "unnamed");
		else
			snprintf(text, TEXT, "@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path)) - 1,
				 un->sun_path + 1);
		break;
	default:
		snprintf(text, TEXT, "family-%d", address->ss_family);
	}
	return text;
}

static const char *name_by(int (*get)(int, struct sockaddr *, socklen_t *), int fd, char text[TEXT])
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);

	if (get(fd, (void *)&address, &size)) {
		snprintf(text, TEXT, "%s", error_name(errno));
		return text;
	}
	return show_address(&address, size, text);
}

/* glibc declares these with a transparent union, which a function pointer cannot take. */
static int sockname(int fd, struct sockaddr *address, socklen_t *size)
{
	return getsockname(fd, address, size);
}

static int peername(int fd, struct sockaddr *address, socklen_t *size)
{
	return getpeername(fd, address, size);
}

const char *local_of(int fd, char text[TEXT])
{
	return name_by(sockname, fd, text);
}

const char *peer_of(int fd, char text[TEXT])
{
	return name_by(peername, fd, text);
}
