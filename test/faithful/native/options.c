// SPDX-License-Identifier: Apache-2.0
/* setsockopt() and getsockopt(), with buffers of any size. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "puppet.h"

/* Of linux/in.h; the C library's header does not have it everywhere. */
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#define LARGEST 65536
/* What a buffer holds before the call: bytes that the call left alone still do. */
#define FILL 0xa5

static const struct option {
	const char *name;
	int level, number;
} options[] = {
	{ "reuse-address", SOL_SOCKET, SO_REUSEADDR },
	{ "reuse-port", SOL_SOCKET, SO_REUSEPORT },
	{ "error", SOL_SOCKET, SO_ERROR },
	{ "mark", SOL_SOCKET, SO_MARK },
	{ "device", SOL_SOCKET, SO_BINDTODEVICE },
	{ "protocol", SOL_SOCKET, SO_PROTOCOL },
	{ "receive-timeout", SOL_SOCKET, SO_RCVTIMEO },
	{ "send-timeout", SOL_SOCKET, SO_SNDTIMEO },
	{ "bind-no-port", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT },
	{ "v6only", IPPROTO_IPV6, IPV6_V6ONLY },
	{ "fastopen", IPPROTO_TCP, TCP_FASTOPEN },
	{ "fastopen-connect", IPPROTO_TCP, TCP_FASTOPEN_CONNECT },
	{ "syn-count", IPPROTO_TCP, TCP_SYNCNT },
	{ "user-timeout", IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ "no-delay", IPPROTO_TCP, TCP_NODELAY },
	{ "info", IPPROTO_TCP, TCP_INFO },
	{ "congestion", IPPROTO_TCP, TCP_CONGESTION },
	/* IPT_SO_GET_ENTRIES, far beyond a page in real use; without the table it is ENOENT or ENOPROTOOPT. */
	{ "table-entries", IPPROTO_IP, 65 },
};

static const struct option *option_of(const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	errno = EINVAL;
	die(name);
}

/* set FD OPTION VALUE: a number, the name of a device, or milliseconds of a timeout */
static void call_set(int argc, char **argv)
{
	const struct option *option = option_of(argv[2]);
	int fd = atoi(argv[1]), value = atoi(argv[3]);
	struct timeval time = { value / 1000, value % 1000 * 1000 };

	if (option->number == SO_BINDTODEVICE && option->level == SOL_SOCKET)
		answer_result(setsockopt(fd, option->level, option->number, argv[3], strlen(argv[3])));
	else if (strstr(argv[2], "e-timeout") || strstr(argv[2], "d-timeout"))
		answer_result(setsockopt(fd, option->level, option->number, &time, sizeof(time)));
	else
		answer_result(setsockopt(fd, option->level, option->number, &value, sizeof(value)));
	answer_end();
}

/* get FD OPTION: a number */
static void call_get(int argc, char **argv)
{
	const struct option *option = option_of(argv[2]);
	int value = 0, returned;
	socklen_t size = sizeof(value);

	returned = getsockopt(atoi(argv[1]), option->level, option->number, &value, &size);
	answer_result(returned);
	if (returned == 0)
		answer_number("value", value);
	answer_end();
}

/* so-error FD: SO_ERROR by name */
static void call_so_error(int argc, char **argv)
{
	int error = 0;
	socklen_t size = sizeof(error);

	answer_result(getsockopt(atoi(argv[1]), SOL_SOCKET, SO_ERROR, &error, &size));
	answer_text("error", error ? error_name(error) : "none");
	answer_end();
}

/* reset-on-close FD: SO_LINGER of no time, so that close() sends a RST */
static void call_reset_on_close(int argc, char **argv)
{
	struct linger linger = { 1, 0 };

	answer_result(setsockopt(atoi(argv[1]), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	answer_end();
}

static unsigned char buffer[LARGEST];

/* Bytes up to the last one that changed. */
static long touched(void)
{
	for (long i = LARGEST; i > 0; i--)
		if (buffer[i - 1] != FILL)
			return i;
	return 0;
}

/* Asks with a buffer of that size, and tells how it went and how much of the buffer was written. */
static int ask(const char *fd, int level, int number, const char *size)
{
	socklen_t length = atoi(size);
	int returned;

	memset(buffer, FILL, sizeof(buffer));
	returned = getsockopt(atoi(fd), level, number, buffer, &length);
	answer_result(returned);
	answer_number("length", length);
	answer_number("touched", touched());
	return returned;
}

/* ask FD OPTION SIZE */
static void call_ask(int argc, char **argv)
{
	const struct option *option = option_of(argv[2]);

	ask(argv[1], option->level, option->number, argv[3]);
	answer_end();
}

/* original FD ip|ipv6 SIZE: SO_ORIGINAL_DST, which is also IP6T_SO_ORIGINAL_DST */
static void call_original(int argc, char **argv)
{
	int level = strcmp(argv[2], "ipv6") == 0 ? IPPROTO_IPV6 : IPPROTO_IP;
	struct sockaddr_storage address;
	char text[TEXT];

	if (ask(argv[1], level, SO_ORIGINAL_DST, argv[3]) == 0) {
		memcpy(&address, buffer, sizeof(address));
		answer_text("address", show_address(&address, sizeof(address), text));
	}
	answer_end();
}

const char *original_of(int fd, char text[TEXT])
{
	struct sockaddr_storage local, original;
	const struct sockaddr_in6 *in6 = (const void *)&local;
	socklen_t size = sizeof(local);
	int level;

	if (getsockname(fd, (void *)&local, &size))
		die("getsockname");
	level = local.ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? IPPROTO_IPV6 :
											 IPPROTO_IP;
	size = sizeof(original);
	if (getsockopt(fd, level, SO_ORIGINAL_DST, &original, &size))
		snprintf(text, TEXT, "%s", error_name(errno));
	else
		show_address(&original, size, text);
	return text;
}

const struct call option_calls[] = {
	{ "set", 3, call_set },
	{ "get", 2, call_get },
	{ "so-error", 1, call_so_error },
	{ "reset-on-close", 1, call_reset_on_close },
	{ "ask", 3, call_ask },
	{ "original", 3, call_original },
	{ NULL, 0, NULL },
};
