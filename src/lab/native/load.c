// SPDX-License-Identifier: Apache-2.0
/*
 * Load with as little of its own in the way as can be: epoll, non-blocking sockets.
 *
 *   load serve PORT         echoes on PORT; on PORT+1 reads all there is, and says how
 *                           much once the other end is done; on PORT+2 and PORT+3 echoes
 *                           until a message begins with another byte than 0, and from then
 *                           on reads nothing, or a little now and then
 *   load call ADDRESS PORT  reads one command a line, answers each with one line:
 *     rtt BYTES COUNT       COUNT round-trip times, ns, on a connection that is kept
 *     unix BYTES COUNT      the same over a pair of AF_UNIX stream sockets
 *     connect BYTES COUNT   COUNT times, ns, of connect, one round trip and close
 *     stream BYTES MS       writes of BYTES for MS: bytes received and ns they took
 *     load CONNECTIONS BYTES MS
 *                           one request after the other on each: requests, ns, p50, p99
 *     idle CONNECTIONS      as many kept open from now on, each after one round trip
 *     ready OFFSET COUNT    connections to PORT+OFFSET that have made round trips for a
 *                           while, one each for what follows
 *     stall                 bytes that an end which reads nothing takes before it blocks
 *     slow MS               bytes that an end which reads slowly takes in that time
 *
 * Without IPv6: the baseline is iptables' nat table for IPv4.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (1 << 20)
#define EVENTS 64
#define FDS_MAX 20000
#define NO_ANSWER_MS 20000
/* Without a byte taken for so long, an end is taken to be blocked. */
#define STALLED_MS 300
/* What a slow reader reads, and how often. */
#define SLOW_BYTES 16384
#define SLOW_MS 10
/* Habits of a connection are known by then, and acceleration has had time to take it up. */
#define READY_MS 2500
#define READY_MAX 64

enum role { ECHO = 1, SINK, DEAF, SLOW };

static char message[MESSAGE_MAX];
static struct {
	enum role role;
	unsigned long received;
} open_fds[FDS_MAX];
static int slow_fd = -1;

static __attribute__((noreturn)) void die(const char *what)
{
	perror(what);
	exit(1);
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void watch(int epoll, int fd, __uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void writable(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };

	if (poll(&wait, 1, NO_ANSWER_MS) == 0) {
		fprintf(stderr, "not writable within %d ms\n", NO_ANSWER_MS);
		exit(1);
	}
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return -1;
		if (sent < 0)
			writable(fd);
		if (sent > 0) {
			data += sent;
			size -= sent;
		}
	}
	return 0;
}

static int listen_on(in_port_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* A process may have 20,000 files here and there: several share what comes. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

static void take(int epoll, int listener, enum role role)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fd >= FDS_MAX) {
		close(fd);
		return;
	}
	no_delay(fd);
	open_fds[fd].role = role;
	open_fds[fd].received = 0;
	watch(epoll, fd, EPOLLIN);
}

/* Reads no more by itself; the one before it, which its caller has left, ends. */
static void set_aside(int epoll, int fd, int *held)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	open_fds[fd].role = 0;
	if (*held >= 0)
		close(*held);
	*held = fd;
}

static void answer(int epoll, int fd)
{
	static int deaf = -1;
	ssize_t got = recv(fd, message, sizeof(message), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got > 0 && message[0] && open_fds[fd].role == DEAF) {
		set_aside(epoll, fd, &deaf);
		return;
	}
	if (got > 0 && message[0] && open_fds[fd].role == SLOW) {
		set_aside(epoll, fd, &slow_fd);
		return;
	}
	if (got > 0 && open_fds[fd].role == SINK) {
		open_fds[fd].received += got;
		return;
	}
	if (got > 0 && send_all(fd, message, got) == 0)
		return;
	if (got == 0 && open_fds[fd].role == SINK)
		send_all(fd, (char *)&open_fds[fd].received, sizeof(open_fds[fd].received));
	open_fds[fd].role = 0;
	close(fd);
}

static void read_slowly(void)
{
	static long next;
	long now = now_ns();

	if (slow_fd < 0 || now < next)
		return;
	next = now + SLOW_MS * 1000000L;
	if (recv(slow_fd, message, SLOW_BYTES, 0) == 0) {
		close(slow_fd);
		slow_fd = -1;
	}
}

static void serve(in_port_t port)
{
	static const enum role roles[] = { ECHO, SINK, DEAF, SLOW };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS];
	enum role role_of[FDS_MAX] = {};

	for (int i = 0; i < 4; i++) {
		int listener = listen_on(port + i);

		role_of[listener] = roles[i];
		watch(epoll, listener, EPOLLIN);
	}
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, slow_fd < 0 ? -1 : SLOW_MS);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (role_of[fd])
				take(epoll, fd, role_of[fd]);
			else
				answer(epoll, fd);
		}
		read_slowly();
	}
}

static int dial(const struct sockaddr_in *server, int offset)
{
	struct sockaddr_in addr = *server;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_port = htons(ntohs(server->sin_port) + offset);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
	no_delay(fd);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die("O_NONBLOCK");
	return fd;
}

/* As much as was asked for; waits for it. */
static void receive(int fd, size_t size)
{
	while (size > 0) {
		ssize_t got = recv(fd, message, size < sizeof(message) ? size : sizeof(message), 0);
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		if (got == 0) {
			fprintf(stderr, "the connection was closed\n");
			exit(1);
		}
		if (got > 0) {
			size -= got;
			continue;
		}
		if (errno != EAGAIN)
			die("recv");
		if (poll(&wait, 1, NO_ANSWER_MS) == 0) {
			fprintf(stderr, "no answer within %d ms\n", NO_ANSWER_MS);
			exit(1);
		}
	}
}

static long round_trip(int fd, size_t size)
{
	long start = now_ns();

	if (send_all(fd, message, size) < 0)
		die("send");
	receive(fd, size);
	return now_ns() - start;
}

static void print_trips(int fd, size_t size, long count)
{
	for (long i = 0; i < count; i++)
		printf(i ? " %ld" : "%ld", round_trip(fd, size));
}

static void over_unix(size_t size, long count)
{
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		die("socketpair");
	child = fork();
	if (child == 0) {
		struct pollfd wait = { .fd = pair[1], .events = POLLIN };

		close(pair[0]);
		for (;;) {
			ssize_t got = recv(pair[1], message, sizeof(message), 0);

			if (got == 0 || (got > 0 && send_all(pair[1], message, got) < 0))
				_exit(0);
			if (got < 0)
				poll(&wait, 1, NO_ANSWER_MS);
		}
	}
	close(pair[1]);
	print_trips(pair[0], size, count);
	close(pair[0]);
	waitpid(child, NULL, 0);
}

static void connects(const struct sockaddr_in *server, size_t size, long count)
{
	for (long i = 0; i < count; i++) {
		long start = now_ns();
		int fd = dial(server, 0);

		round_trip(fd, size);
		close(fd);
		printf(i ? " %ld" : "%ld", now_ns() - start);
	}
}

static void stream(const struct sockaddr_in *server, size_t size, long ms)
{
	int fd = dial(server, 1);
	long start = now_ns(), end = start + ms * 1000000;
	unsigned long received;

	while (now_ns() < end)
		if (send_all(fd, message, size) < 0)
			die("send");
	shutdown(fd, SHUT_WR);
	receive(fd, sizeof(received));
	memcpy(&received, message, sizeof(received));
	printf("%lu %ld", received, now_ns() - start);
	close(fd);
}

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return x < y ? -1 : x > y;
}

static void load(const struct sockaddr_in *server, long connections, size_t size, long ms)
{
	static long began[FDS_MAX];
	static size_t missing[FDS_MAX];
	size_t room = 1 << 20, done = 0;
	long *times = malloc(room * sizeof(*times));
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int *fds = malloc(connections * sizeof(*fds));
	struct epoll_event events[EVENTS];
	long start, end;

	for (long i = 0; i < connections; i++) {
		fds[i] = dial(server, 0);
		watch(epoll, fds[i], EPOLLIN);
	}
	start = now_ns();
	end = start + ms * 1000000;
	for (long i = 0; i < connections; i++) {
		began[fds[i]] = now_ns();
		missing[fds[i]] = size;
		send_all(fds[i], message, size);
	}
	while (now_ns() < end) {
		int count = epoll_wait(epoll, events, EVENTS, NO_ANSWER_MS);

		if (count == 0) {
			fprintf(stderr, "no answer within %d ms\n", NO_ANSWER_MS);
			exit(1);
		}
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			ssize_t got = recv(fd, message, sizeof(message), 0);

			if (got == 0)
				die("closed");
			if (got < 0)
				continue;
			missing[fd] -= got;
			if (missing[fd] > 0)
				continue;
			if (done == room)
				times = realloc(times, (room *= 2) * sizeof(*times));
			times[done++] = now_ns() - began[fd];
			began[fd] = now_ns();
			missing[fd] = size;
			send_all(fd, message, size);
		}
	}
	end = now_ns();
	for (long i = 0; i < connections; i++)
		close(fds[i]);
	close(epoll);
	qsort(times, done, sizeof(*times), by_value);
	printf("%zu %ld %ld %ld", done, end - start, done ? times[done / 2] : 0,
	       done ? times[done * 99 / 100] : 0);
	free(times);
	free(fds);
}

static int ready_fds[READY_MAX];
static int ready_count, ready_offset;

static void get_ready(const struct sockaddr_in *server, int offset, long count)
{
	long end;

	while (ready_count > 0)
		close(ready_fds[--ready_count]);
	ready_offset = offset;
	while (ready_count < count && ready_count < READY_MAX)
		ready_fds[ready_count++] = dial(server, offset);
	end = now_ns() + READY_MS * 1000000L;
	while (now_ns() < end) {
		for (int i = 0; i < ready_count; i++)
			round_trip(ready_fds[i], 64);
		poll(NULL, 0, 5);
	}
}

/* Writes until nothing is taken any more, or for so long. */
static void flood(const struct sockaddr_in *server, long ms)
{
	static char begin[65536] = { 1 };
	long end = now_ns() + ms * 1000000L;
	unsigned long taken = 0;
	int fd;

	if (ready_count == 0)
		get_ready(server, ready_offset, 1);
	fd = ready_fds[--ready_count];
	while (ms == 0 || now_ns() < end) {
		ssize_t sent = send(fd, taken ? message : begin, sizeof(begin), MSG_NOSIGNAL);
		struct pollfd wait = { .fd = fd, .events = POLLOUT };

		if (sent > 0) {
			taken += sent;
			continue;
		}
		if (errno != EAGAIN)
			die("send");
		if (poll(&wait, 1, ms ? SLOW_MS : STALLED_MS) == 0 && ms == 0)
			break;
	}
	printf("%lu", taken);
	close(fd);
}

static int call(const char *address, in_port_t port)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(port) };
	int kept = -1;
	char what[16];

	if (inet_pton(AF_INET, address, &server.sin_addr) != 1)
		die("address");
	while (scanf("%15s", what) == 1) {
		long a = 0, b = 0, c = 0;

		if (strcmp(what, "stall") != 0 && scanf("%ld", &a) != 1)
			return 2;
		if (strcmp(what, "stall") != 0 && strcmp(what, "idle") != 0 &&
		    strcmp(what, "slow") != 0 && scanf("%ld", &b) != 1)
			return 2;
		if (strcmp(what, "load") == 0 && scanf("%ld", &c) != 1)
			return 2;
		if (a < 0 || a > MESSAGE_MAX || b < 0 || b > MESSAGE_MAX)
			return 2;
		if (strcmp(what, "rtt") == 0) {
			if (kept < 0)
				kept = dial(&server, 0);
			print_trips(kept, a, b);
		} else if (strcmp(what, "unix") == 0) {
			over_unix(a, b);
		} else if (strcmp(what, "connect") == 0) {
			connects(&server, a, b);
		} else if (strcmp(what, "stream") == 0) {
			stream(&server, a, b);
		} else if (strcmp(what, "load") == 0) {
			load(&server, a, b, c);
		} else if (strcmp(what, "idle") == 0) {
			for (long i = 0; i < a; i++)
				round_trip(dial(&server, 0), 64);
			printf("%ld", a);
		} else if (strcmp(what, "ready") == 0) {
			get_ready(&server, a, b);
			printf("%d", ready_count);
		} else if (strcmp(what, "stall") == 0) {
			flood(&server, 0);
		} else if (strcmp(what, "slow") == 0) {
			flood(&server, a);
		} else {
			return 2;
		}
		printf("\n");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "call") == 0)
		return call(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: load serve PORT | call ADDRESS PORT\n");
	return 2;
}
