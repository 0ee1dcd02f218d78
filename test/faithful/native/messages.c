// SPDX-License-Identifier: Apache-2.0
/* What goes through a socket: bytes, descriptors, and readiness. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "puppet.h"

/* How long a peer may take before the test is told that it said nothing. */
#define ANSWER_TIMEOUT_MS 20000

long read_line(int fd, char *text, size_t room, int timeout_ms)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	size_t length = 0;
	int ended = 0;

	while (length + 1 < room) {
		/* One byte at a time: what follows the line is not ours. */
		ssize_t got = poll(&polled, 1, timeout_ms) > 0 ? recv(fd, text + length, 1, 0) : -1;

		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0)
			ended = 1;
		if (got <= 0 || text[length] == '\n')
			break;
		length++;
	}
	text[length] = 0;
	return ended && length == 0 ? -1 : (long)length;
}

/* line FD: one line of the peer's */
static void call_line(int argc, char **argv)
{
	char text[4096];
	long length = read_line(atoi(argv[1]), text, sizeof(text), ANSWER_TIMEOUT_MS);

	answer_text("line", length < 0 ? "" : text);
	answer_end();
}

/* banner FD: the line of JSON that a server greets with, see server.c */
static void call_banner(int argc, char **argv)
{
	char text[4096];
	long length = read_line(atoi(argv[1]), text, sizeof(text), ANSWER_TIMEOUT_MS);

	if (length <= 0 || text[0] != '{')
		answer_text("landing", "no answer");
	else
		answer_json("banner", text);
	answer_end();
}

/* send FD TEXT */
static void call_send(int argc, char **argv)
{
	ssize_t sent = send(atoi(argv[1]), argv[2], strlen(argv[2]), 0);

	answer_result(sent);
	if (sent >= 0)
		answer_number("sent", sent);
	answer_end();
}

/* send-to FD HOST PORT TEXT [fastopen] */
static void call_send_to(int argc, char **argv)
{
	struct sockaddr_storage address;
	socklen_t size = parse_address(argv[2], argv[3], &address);
	int flags = argc > 5 ? MSG_FASTOPEN : 0;
	ssize_t sent = sendto(atoi(argv[1]), argv[4], strlen(argv[4]), flags, (void *)&address, size);

	answer_result(sent);
	if (sent >= 0)
		answer_number("sent", sent);
	answer_end();
}

/* receive FD: up to 4 KiB at once, and from whom */
static void call_receive(int argc, char **argv)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);
	char data[4096], text[TEXT];
	ssize_t got = recvfrom(atoi(argv[1]), data, sizeof(data) - 1, 0, (void *)&address, &size);

	answer_result(got);
	if (got >= 0) {
		data[got] = 0;
		answer_text("text", data);
		if (size > 0)
			answer_text("from", show_address(&address, size, text));
	}
	answer_end();
}

/* exchange FD COUNT: sends COUNT bytes in pieces of uneven size and reads them back from an echo */
static void call_exchange(int argc, char **argv)
{
	int fd = atoi(argv[1]);
	long count = atol(argv[2]), sent = 0, got = 0, wrong = 0;
	char data[8192];

	while (got < count) {
		struct pollfd polled = { .fd = fd, .events = sent < count ? POLLIN | POLLOUT : POLLIN };
		ssize_t done;

		if (poll(&polled, 1, ANSWER_TIMEOUT_MS) <= 0)
			break;
		if (sent < count && polled.revents & POLLOUT) {
			long piece = 1 + sent * 7919 % (long)sizeof(data);

			if (piece > count - sent)
				piece = count - sent;
			for (long i = 0; i < piece; i++)
				data[i] = (char)((sent + i) * 31 >> 3);
			done = send(fd, data, piece, MSG_DONTWAIT);
			if (done > 0)
				sent += done;
			else if (errno != EAGAIN)
				break;
		}
		if (polled.revents & (POLLIN | POLLHUP | POLLERR)) {
			done = recv(fd, data, sizeof(data), MSG_DONTWAIT);
			if (done == 0 || (done < 0 && errno != EAGAIN))
				break;
			for (long i = 0; i < done; i++)
				wrong += data[i] != (char)((got + i) * 31 >> 3);
			if (done > 0)
				got += done;
		}
	}
	answer_number("sent", sent);
	answer_number("received", got);
	answer_number("wrong", wrong);
	answer_end();
}

/* drain FD: everything to the end of the stream, and how that came */
static void call_drain(int argc, char **argv)
{
	struct pollfd polled = { .fd = atoi(argv[1]), .events = POLLIN };
	char data[8192], head[64] = "";
	const char *end = "timeout";
	size_t length = 0;
	long count = 0;

	while (poll(&polled, 1, ANSWER_TIMEOUT_MS) > 0) {
		ssize_t got = recv(polled.fd, data, sizeof(data), 0);

		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0) {
			end = got == 0 ? "end" : error_name(errno);
			break;
		}
		count += got;
		for (ssize_t i = 0; i < got && length + 1 < sizeof(head); i++)
			head[length++] = data[i];
	}
	answer_text("end", end);
	answer_number("bytes", count);
	answer_text("head", head);
	answer_end();
}

/* poll FD MILLISECONDS: whether it is ready for writing, which is how a connect ends */
static void call_poll(int argc, char **argv)
{
	struct pollfd polled = { .fd = atoi(argv[1]), .events = POLLOUT };
	char text[64] = "";

	if (poll(&polled, 1, atoi(argv[2])) < 0)
		die("poll");
	snprintf(text, sizeof(text), "%s%s%s", polled.revents & POLLOUT ? "out " : "",
		 polled.revents & POLLERR ? "error " : "", polled.revents & POLLHUP ? "hang-up " : "");
	answer_text("ready", text[0] ? text : "nothing");
	answer_end();
}

/* pass FD SOCKET: a descriptor over a unix socket */
static void call_pass(int argc, char **argv)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { 0 };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	int fd = atoi(argv[1]);

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	answer_result(sendmsg(atoi(argv[2]), &message, 0));
	answer_end();
}

/* take SOCKET: the descriptor that was passed */
static void call_take(int argc, char **argv)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { 0 };
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	int fd = -1;

	if (recvmsg(atoi(argv[1]), &message, 0) > 0 && control.header.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	answer_result(fd);
	answer_number("fd", fd);
	answer_end();
}

const struct call message_calls[] = {
	{ "line", 1, call_line },	{ "banner", 1, call_banner },	{ "send", 2, call_send },
	{ "send-to", 4, call_send_to }, { "receive", 1, call_receive }, { "exchange", 2, call_exchange },
	{ "drain", 1, call_drain },	{ "poll", 2, call_poll },	{ "pass", 2, call_pass },
	{ "take", 1, call_take },	{ NULL, 0, NULL },
};
