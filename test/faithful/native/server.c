// SPDX-License-Identifier: Apache-2.0
/*
 * A server in threads of the puppet. It greets every connection with one line of JSON, which tells what it sees of
 * it, and then echoes until the end of the stream.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "puppet.h"

#define BACKLOG 4096

struct server {
	char name[32];
	int listener;
	int brief; /* greets and closes first, so that the client's port is free again at once */
};

struct connection {
	int fd;
};

static void greet(const struct server *server, int fd)
{
	char local[TEXT], peer[TEXT], original[TEXT];

	dprintf(fd, "{\"landing\":\"%s\",\"original\":\"%s\",\"on\":\"%s\",\"from\":\"%s\"}\n", server->name,
		original_of(fd, original), local_of(fd, local), peer_of(fd, peer));
}

static void *echo(void *argument)
{
	struct connection *connection = argument;
	int fd = connection->fd;
	char data[16384];
	ssize_t got;

	free(connection);
	while ((got = recv(fd, data, sizeof(data), 0)) > 0) {
		for (ssize_t done = 0, sent; done < got; done += sent) {
			sent = send(fd, data + done, got - done, MSG_NOSIGNAL);
			if (sent < 0) {
				close(fd);
				return NULL;
			}
		}
	}
	close(fd);
	return NULL;
}

static void start(void *(*work)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 128 * 1024);
	error = pthread_create(&thread, &attributes, work, argument);
	pthread_attr_destroy(&attributes);
	if (error) {
		errno = error;
		die("pthread_create");
	}
}

static void *accept_all(void *argument)
{
	const struct server *server = argument;

	for (;;) {
		int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && (errno == ECONNABORTED || errno == EINTR || errno == EMFILE))
			continue;
		/* EINVAL: shut down by `close-server`. */
		if (fd < 0)
			return NULL;
		greet(server, fd);
		if (server->brief) {
			close(fd);
		} else {
			struct connection *connection = malloc(sizeof(*connection));

			connection->fd = fd;
			start(echo, connection);
		}
	}
}

/* serve FD NAME [brief]: accepts on a listening socket; greetings carry the name */
static void call_serve(int argc, char **argv)
{
	struct server *server = calloc(1, sizeof(*server));

	snprintf(server->name, sizeof(server->name), "%s", argv[2]);
	server->listener = atoi(argv[1]);
	server->brief = argc > 3;
	start(accept_all, server);
	answer_text("result", "ok");
	answer_end();
}

/* close-server FD: stops to accept, and closes the listener */
static void call_close_server(int argc, char **argv)
{
	int fd = atoi(argv[1]);

	/* close() alone would leave accept4() of the other thread waiting, and the socket listening. */
	shutdown(fd, SHUT_RDWR);
	answer_result(close(fd));
	answer_end();
}

const struct call server_calls[] = {
	{ "serve", 2, call_serve },
	{ "close-server", 1, call_close_server },
	{ NULL, 0, NULL },
};
