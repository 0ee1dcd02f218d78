/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that does with sockets what it is told, one line a call, and answers each with one line of JSON: every
 * return value and error as the kernel gave it. Nothing here decides what is right.
 */
#ifndef PUPPET_H
#define PUPPET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define TEXT 128 /* room for an address as text */

struct call {
	const char *name;
	int least; /* words that have to follow the name */
	void (*run)(int argc, char **argv);
};

extern const struct call socket_calls[], option_calls[], message_calls[], process_calls[], server_calls[],
	ring_calls[], crowd_calls[];

/* Runs the call that the words name; its answer goes to standard output. */
void run_call(int argc, char **argv);

/* The answer: fields in the order they are added, then `answer_end`. */
void answer_text(const char *key, const char *value);
void answer_number(const char *key, long value);
void answer_json(const char *key, const char *json);
void answer_end(void);
/* "ok", or the name of errno. */
void answer_result(long returned);
const char *error_name(int error);
/* For what no test means to happen: says so on standard error and ends the process. */
void die(const char *what) __attribute__((noreturn));

/* `@name` is an abstract unix socket; gives the size of the address. */
socklen_t parse_address(const char *host, const char *port, struct sockaddr_storage *address);
const char *show_address(const struct sockaddr_storage *address, socklen_t size, char text[TEXT]);
/* getsockname() and getpeername(): the address, or the name of the error. */
const char *local_of(int fd, char text[TEXT]);
const char *peer_of(int fd, char text[TEXT]);

/* SO_ORIGINAL_DST as a sidecar asks for it: by the family of the connection. */
const char *original_of(int fd, char text[TEXT]);

/* Reads until a newline or the end of the stream; gives what it read, without the newline. */
long read_line(int fd, char *text, size_t room, int timeout_ms);

#endif
