// SPDX-License-Identifier: Apache-2.0
/*
 * Two ends of many connections that check every byte, and use their sockets in all the ways programs do.
 *
 *   integrity serve PORT
 *   integrity call ADDRESS PORT   reads lines "SCENARIO SEED FIRST COUNT", runs COUNT connections at once
 *
 * Both print a line "SCENARIO INDEX OBSERVATION" for each connection once it has ended. "ok" says that all bytes were
 * right and the scenario went to its end; "cut" that the connection ended early, with all bytes right until then.
 * What a connection does follows from scenario and seed alone, so both ends know it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MEGABYTE (1u << 20)
#define CHUNK_MAX (256u << 10)
/* Longer without a byte or a place for one counts as lost wake-up; SHUNT_LAB_PATIENCE multiplies it where all is slow. */
static int hang_ms = 20000;
/*
 * Round trips before the scenario proper, and the pause between: long enough for acceleration to see what kind of
 * connection it is (an application for 1.5 s, and the first look up to a second late) and take it up.
 */
#define WARM_ROUNDS 70
#define WARM_PAUSE_US 40000
/* A reader that waits without a wake-up being due would spin. */
#define SPINS_MAX 20000

enum style {
	POLLED, /* non-blocking, poll() */
	EDGE, /* non-blocking, edge-triggered epoll */
	BLOCKING,
	TIMED, /* non-blocking for connect() alone, as with a connect timeout */
	TURNED, /* non-blocking until warm, then blocking */
};

struct hello {
	uint32_t scenario;
	uint32_t index;
	uint64_t seed;
};

struct end {
	int fd;
	bool server;
	enum style style;
	bool blocks;
	int epoll;
	uint64_t rng; /* in step with the other end's */
	uint64_t chance; /* this end's own */
	uint64_t tx_seed, tx;
	uint64_t rx_seed, rx;
	unsigned char *buf;
	char seen[96];
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t next(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15u);
}

/* Eight bytes of a stream, of which the lowest comes first: every eight positions have bits of their own. */
static uint64_t word_at(uint64_t seed, uint64_t pos)
{
	return mix(seed + (pos >> 3) * 0x9e3779b97f4a7c15u);
}

static unsigned char byte_at(uint64_t seed, uint64_t pos)
{
	return word_at(seed, pos) >> ((pos & 7) * 8);
}

static void fill(unsigned char *buf, size_t size, uint64_t seed, uint64_t pos)
{
	size_t i = 0;

	while (i < size) {
		uint64_t word;

		if (((pos + i) & 7) || size - i < sizeof(word)) {
			buf[i] = byte_at(seed, pos + i);
			i++;
			continue;
		}
		word = htole64(word_at(seed, pos + i));
		memcpy(buf + i, &word, sizeof(word));
		i += sizeof(word);
	}
}

/* Notes the first thing that was seen, and gives -1. */
static int saw(struct end *end, const char *format, ...)
{
	va_list args;

	if (end->seen[0])
		return -1;
	va_start(args, format);
	vsnprintf(end->seen, sizeof(end->seen), format, args);
	va_end(args);
	return -1;
}

static int check(struct end *end, const unsigned char *buf, size_t size)
{
	unsigned char expected[4096];

	for (size_t i = 0; i < size; i += sizeof(expected)) {
		size_t part = size - i < sizeof(expected) ? size - i : sizeof(expected);

		fill(expected, part, end->rx_seed, end->rx + i);
		if (memcmp(buf + i, expected, part) == 0)
			continue;
		for (size_t k = 0; k < part; k++)
			if (buf[i + k] != expected[k])
				return saw(end, "corrupt at %llu", (unsigned long long)(end->rx + i + k));
	}
	end->rx += size;
	return 0;
}

static int ready(struct end *end, short what)
{
	struct pollfd one = { .fd = end->fd, .events = what };
	struct epoll_event event;
	int count;

	if (end->style == EDGE)
		count = epoll_wait(end->epoll, &event, 1, hang_ms);
	else
		count = poll(&one, 1, hang_ms);
	if (count == 0)
		return saw(end, what == POLLIN ? "hang: no byte" : "hang: no room");
	return 0;
}

/* An error of send or recv: 0 to try again. */
static int trouble(struct end *end, const char *call, short what)
{
	if (errno == EINTR)
		return 0;
	if (errno == EAGAIN && end->blocks)
		return saw(end, "EAGAIN from a blocking %s", call);
	if (errno == EAGAIN)
		return ready(end, what);
	if (errno == ECONNRESET || errno == EPIPE)
		return saw(end, "cut");
	return saw(end, "%s: %s", call, strerrorname_np(errno));
}

static int put(struct end *end, size_t size)
{
	while (size > 0) {
		size_t chunk = 1 + next(&end->chance) % CHUNK_MAX;
		ssize_t sent;

		if (chunk > size)
			chunk = size;
		fill(end->buf, chunk, end->tx_seed, end->tx);
		for (size_t done = 0; done < chunk;) {
			sent = send(end->fd, end->buf + done, chunk - done, MSG_NOSIGNAL);
			if (sent < 0 && trouble(end, "send", POLLOUT) < 0)
				return -1;
			if (sent > 0)
				done += sent;
		}
		end->tx += chunk;
		size -= chunk;
	}
	return 0;
}

/* Some bytes, at most so many: their number, 0 at the end of the stream, -1. */
static ssize_t take(struct end *end, size_t most)
{
	for (;;) {
		ssize_t got = recv(end->fd, end->buf, most, 0);

		if (got > 0)
			return check(end, end->buf, got) < 0 ? -1 : got;
		if (got == 0)
			return 0;
		if (trouble(end, "recv", POLLIN) < 0)
			return -1;
	}
}

static int get(struct end *end, size_t size)
{
	while (size > 0) {
		size_t most = 1 + next(&end->chance) % CHUNK_MAX;
		ssize_t got = take(end, most < size ? most : size);

		if (got == 0)
			return saw(end, "cut");
		if (got < 0)
			return -1;
		size -= got;
	}
	return 0;
}

static int get_to_end(struct end *end, uint64_t size)
{
	uint64_t until = end->rx + size;
	ssize_t got;

	while ((got = take(end, CHUNK_MAX)) > 0)
		;
	if (got < 0)
		return -1;
	return end->rx == until ? 0 : saw(end, "cut");
}

/* Sizes from one byte to a megabyte, as many short as long. */
static size_t size_of(uint64_t *rng)
{
	uint64_t bits = next(rng) % 21;

	return 1 + next(rng) % (1u << bits);
}

static int put_get(struct end *end, size_t there, size_t back)
{
	if (end->server)
		return get(end, there) < 0 ? -1 : put(end, back);
	return put(end, there) < 0 ? -1 : get(end, back);
}

static int warm(struct end *end, int rounds, int pause_us)
{
	for (int i = 0; i < rounds; i++) {
		size_t there = 1 + next(&end->rng) % 1000, back = 1 + next(&end->rng) % 1000;

		if (put_get(end, there, back) < 0)
			return -1;
		if (!end->server)
			usleep(pause_us);
	}
	return 0;
}

static void set_blocking(struct end *end, bool blocks)
{
	int flags = fcntl(end->fd, F_GETFL);

	fcntl(end->fd, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
	end->blocks = blocks;
}

static int exchange(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	for (int i = 0; i < 16; i++) {
		size_t there = size_of(&end->rng), back = size_of(&end->rng);

		if (put_get(end, there, back) < 0)
			return -1;
	}
	return 0;
}

/* Longer than it takes a connection to be seen and let go of. */
#define TURN_US 4000000

static int turned(struct end *end)
{
	if (warm(end, 2 * WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	set_blocking(end, true);
	end->style = BLOCKING;
	for (int i = 0; i < TURN_US / WARM_PAUSE_US; i++)
		if (warm(end, 1, WARM_PAUSE_US) < 0)
			return -1;
	for (int i = 0; i < 8; i++)
		if (put_get(end, size_of(&end->rng), size_of(&end->rng)) < 0)
			return -1;
	return 0;
}

/* The writer's buffer fills, and it then waits for an answer: it is woken for room as well. */
static int upload(struct end *end)
{
	size_t size = 12 * MEGABYTE;

	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (!end->server)
		return put(end, size) < 0 ? -1 : get(end, 100);
	while (size > 0) {
		size_t part = size < MEGABYTE ? size : MEGABYTE;

		if (get(end, part) < 0)
			return -1;
		usleep(20000);
		size -= part;
	}
	return put(end, 100);
}

static int both_ways(struct end *end, size_t out, size_t in)
{
	while (out > 0 || in > 0) {
		struct pollfd one = { .fd = end->fd, .events = (out ? POLLOUT : 0) | (in ? POLLIN : 0) };
		size_t chunk = 1 + next(&end->chance) % 20000;

		if (poll(&one, 1, hang_ms) == 0)
			return saw(end, "hang: neither byte nor room");
		if (in > 0 && one.revents & (POLLIN | POLLHUP | POLLERR)) {
			ssize_t got = take(end, chunk < in ? chunk : in);

			if (got == 0)
				return saw(end, "cut");
			if (got < 0)
				return -1;
			in -= got;
		}
		if (out > 0 && one.revents & POLLOUT) {
			ssize_t sent;

			if (chunk > out)
				chunk = out;
			fill(end->buf, chunk, end->tx_seed, end->tx);
			sent = send(end->fd, end->buf, chunk, MSG_NOSIGNAL);
			if (sent < 0 && errno != EAGAIN)
				return trouble(end, "send", POLLOUT);
			if (sent > 0) {
				end->tx += sent;
				out -= sent;
			}
		}
	}
	return 0;
}

static int duplex(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	return both_ways(end, 3 * MEGABYTE, 3 * MEGABYTE);
}

static int slow(struct end *end)
{
	size_t size = 2 * MEGABYTE;

	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (!end->server)
		return put(end, size) < 0 ? -1 : get(end, 1);
	while (size > 0) {
		size_t part = 1 + next(&end->chance) % 60000;

		if (part > size)
			part = size;
		if (get(end, part) < 0)
			return -1;
		usleep(10000);
		size -= part;
	}
	return put(end, 1);
}

/*
 * Both ends send all that goes and read nothing for two seconds: to acceleration, which looks meanwhile, that is as
 * much one way as the other, and on every hop bytes wait unread.
 */
static int stalled(struct end *end)
{
	size_t left = 16 * MEGABYTE;

	if (warm(end, 40, 500) < 0)
		return -1;
	for (int i = 0; i < 200; i++) {
		for (;;) {
			size_t chunk = left < 60000 ? left : 60000;
			ssize_t sent;

			fill(end->buf, chunk, end->tx_seed, end->tx);
			sent = send(end->fd, end->buf, chunk, MSG_NOSIGNAL);
			if (sent < 0 && errno == EAGAIN)
				break;
			if (sent <= 0)
				return trouble(end, "send", POLLOUT);
			end->tx += sent;
			left -= sent;
			if (left == 0)
				break;
		}
		if (left == 0)
			break;
		usleep(10000);
	}
	return both_ways(end, left, 16 * MEGABYTE);
}

/*
 * The server looks away at once, before acceleration takes the connection up, and the client goes on: bytes wait unread
 * on every hop when it does, and short messages come after them.
 */
#define STALL_BIG (12 * MEGABYTE)
#define STALL_SMALL 150

static int looked_away(struct end *end)
{
	unsigned char tail[64];
	size_t small = 0;

	if (warm(end, 40, 500) < 0)
		return -1;
	if (end->server) {
		sleep(2);
		return get(end, STALL_BIG + STALL_SMALL * sizeof(tail)) < 0 ? -1 : put(end, 1);
	}
	for (size_t big = 0; big < STALL_BIG;) {
		size_t chunk = 60000 < STALL_BIG - big ? 60000 : STALL_BIG - big;
		ssize_t sent;

		fill(end->buf, chunk, end->tx_seed, end->tx);
		sent = send(end->fd, end->buf, chunk, MSG_NOSIGNAL);
		if (sent < 0) {
			/* Full: what is left of it goes in short messages. */
			if (errno != EAGAIN)
				return trouble(end, "send", POLLOUT);
			usleep(10000);
			fill(tail, sizeof(tail), end->tx_seed, end->tx);
			sent = send(end->fd, tail, sizeof(tail) < chunk ? sizeof(tail) : chunk, MSG_NOSIGNAL);
			if (sent < 0 && errno == EAGAIN)
				continue;
			if (sent < 0)
				return trouble(end, "send", POLLOUT);
		}
		end->tx += sent;
		big += sent;
	}
	while (small++ < STALL_SMALL)
		if (put(end, sizeof(tail)) < 0)
			return -1;
	return get(end, 1);
}

static int half_of(struct end *end, size_t there, size_t back)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (end->server)
		return get_to_end(end, there) < 0 ? -1 : put(end, back);
	if (put(end, there) < 0)
		return -1;
	shutdown(end->fd, SHUT_WR);
	return get_to_end(end, back);
}

static int half(struct end *end)
{
	size_t there = size_of(&end->rng), back = size_of(&end->rng);

	return half_of(end, there, back);
}

/* More than may be redirected unread, with the end of the stream right behind it. */
static int long_half(struct end *end)
{
	size_t there = 1 + next(&end->rng) % (4 * MEGABYTE);
	size_t back = 1 + next(&end->rng) % (24 * MEGABYTE);

	return half_of(end, there, back);
}

/* The server closes with bytes unread: the client must hear of it. */
static int unread(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (end->server)
		return get(end, 1000);
	while (put(end, 50000) == 0)
		;
	return -1;
}

static int reset(struct end *end)
{
	struct linger now = { .l_onoff = 1 };

	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (end->server)
		return get_to_end(end, 100 * MEGABYTE);
	if (put(end, 1 + next(&end->rng) % 200000) < 0)
		return -1;
	setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return 0;
}

static int put_file(struct end *end, size_t size)
{
	int file = memfd_create("pattern", MFD_CLOEXEC);
	unsigned char *at;
	off_t offset = 0;

	if (file < 0 || ftruncate(file, size) < 0)
		return saw(end, "memfd: %s", strerrorname_np(errno));
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	fill(at, size, end->tx_seed, end->tx);
	munmap(at, size);
	while ((size_t)offset < size)
		if (sendfile(end->fd, file, &offset, size - offset) < 0 && trouble(end, "sendfile", POLLOUT) < 0)
			break;
	close(file);
	end->tx += size;
	return (size_t)offset < size ? -1 : 0;
}

static int files(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	for (int i = 0; i < 8; i++) {
		size_t there = size_of(&end->rng), back = size_of(&end->rng);

		if (end->server) {
			if (get(end, there) < 0 || put_file(end, back) < 0)
				return -1;
		} else if (put_file(end, there) < 0 || get(end, back) < 0) {
			return -1;
		}
	}
	return 0;
}

static int get_spliced(struct end *end, size_t size)
{
	int ends[2], spins = 0, result = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return saw(end, "pipe");
	while (size > 0 && result == 0) {
		ssize_t got = splice(end->fd, NULL, ends[1], NULL, size < 65536 ? size : 65536, SPLICE_F_MOVE);

		if (got == 0) {
			result = saw(end, "cut");
		} else if (got < 0) {
			if (errno == EAGAIN && ++spins > SPINS_MAX)
				result = saw(end, "hang: splice finds nothing where poll says there is");
			else
				result = trouble(end, "splice", POLLIN);
		} else {
			size -= got;
			spins = 0;
			while (got > 0 && result == 0) {
				ssize_t part = read(ends[0], end->buf, got);

				result = check(end, end->buf, part);
				got -= part;
			}
		}
	}
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int spliced(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	for (int i = 0; i < 8; i++) {
		size_t there = size_of(&end->rng), back = size_of(&end->rng);

		if (end->server) {
			if (get_spliced(end, there) < 0 || put(end, back) < 0)
				return -1;
		} else if (put(end, there) < 0 || get_spliced(end, back) < 0) {
			return -1;
		}
	}
	return 0;
}

/* 5000 bytes wait: 100 are looked at, 3000 taken in one call, 1000 thrown away, the rest taken. */
static int flagged(struct end *end)
{
	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	for (int i = 0; i < 10; i++) {
		int waiting = 0, spins = 0;

		if (end->server) {
			if (get(end, 10) < 0 || put(end, 5000) < 0)
				return -1;
			continue;
		}
		if (put(end, 10) < 0)
			return -1;
		while (waiting < 5000) {
			if (ioctl(end->fd, FIONREAD, &waiting) < 0 || ++spins > SPINS_MAX)
				return saw(end, "hang: FIONREAD gives %d", waiting);
			usleep(100);
		}
		if (recv(end->fd, end->buf, 100, MSG_PEEK) != 100 || check(end, end->buf, 100) < 0)
			return saw(end, "MSG_PEEK differs");
		end->rx -= 100;
		if (recv(end->fd, end->buf, 3000, MSG_WAITALL) != 3000 || check(end, end->buf, 3000) < 0)
			return saw(end, "MSG_WAITALL gives less");
		memset(end->buf, 0, 1000);
		if (recv(end->fd, end->buf, 1000, MSG_TRUNC) != 1000)
			return saw(end, "MSG_TRUNC gives less");
		for (int k = 0; k < 1000; k++)
			if (end->buf[k])
				return saw(end, "MSG_TRUNC copies");
		end->rx += 1000;
		if (get(end, 1000) < 0)
			return -1;
	}
	return 0;
}

/*
 * The server stops reading and the client sends until nothing has gone for a second and a half: tells how many bytes
 * the sockets between them took.
 */
#define FULL_US 1500000
#define FLOOD_BYTES 16384

/* Counts up when the servers of floods are to close. */
static volatile unsigned released;

static int release(struct end *end)
{
	released += end->server;
	return put_get(end, 1, 1);
}

static int flood(struct end *end)
{
	struct pollfd one = { .fd = end->fd, .events = POLLRDHUP };
	struct linger now = { .l_onoff = 1 };
	size_t accepted = 0;
	int idle_us = 0;

	if (warm(end, WARM_ROUNDS, WARM_PAUSE_US) < 0)
		return -1;
	if (end->server) {
		for (unsigned before = released; released == before && poll(&one, 1, 100) == 0;)
			;
		setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		return 0;
	}
	memset(end->buf, 0, FLOOD_BYTES);
	while (idle_us < FULL_US) {
		ssize_t sent = send(end->fd, end->buf, FLOOD_BYTES, MSG_NOSIGNAL);

		if (sent > 0) {
			accepted += sent;
			idle_us = 0;
		} else if (errno == EAGAIN) {
			usleep(10000);
			idle_us += 10000;
		} else {
			return trouble(end, "send", POLLOUT);
		}
	}
	setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return saw(end, "accepted %zu", accepted);
}

static int brief(struct end *end)
{
	return put_get(end, 1 + next(&end->rng) % 4000, 1 + next(&end->rng) % 4000);
}

/* Goes on for six seconds or so, whatever happens around it. */
static int lasting(struct end *end)
{
	for (int i = 0; i < 280; i++) {
		size_t there = size_of(&end->rng) / 8 + 1, back = size_of(&end->rng) / 8 + 1;

		if (put_get(end, there, back) < 0)
			return -1;
		if (!end->server)
			usleep(20000);
	}
	return 0;
}

/* Urgent data goes no further than the sidecar; what follows it has to come as ever. */
static int urgent(struct end *end)
{
	if (!end->server && send(end->fd, "!", 1, MSG_OOB) != 1)
		return saw(end, "MSG_OOB: %s", strerror(errno));
	return lasting(end);
}

static const struct scenario {
	const char *name;
	int (*run)(struct end *end);
	enum style style;
} scenarios[] = {
	{ "exchange", exchange, POLLED },
	{ "edge", exchange, EDGE },
	{ "blocking", exchange, BLOCKING },
	{ "timed-connect", exchange, TIMED },
	{ "turned", turned, TURNED },
	{ "upload", upload, POLLED },
	{ "blocking-upload", upload, BLOCKING },
	{ "timed-upload", upload, TIMED },
	{ "duplex", duplex, POLLED },
	{ "slow", slow, POLLED },
	{ "edge-slow", slow, EDGE },
	{ "stalled", stalled, POLLED },
	{ "looked-away", looked_away, POLLED },
	{ "half", half, POLLED },
	{ "long-half", long_half, POLLED },
	{ "unread", unread, POLLED },
	{ "reset", reset, POLLED },
	{ "sendfile", files, POLLED },
	{ "splice", spliced, POLLED },
	{ "flags", flagged, POLLED },
	{ "brief", brief, POLLED },
	{ "flood", flood, POLLED },
	{ "release", release, POLLED },
	{ "lasting", lasting, POLLED },
	{ "edge-lasting", lasting, EDGE },
	{ "blocking-lasting", lasting, BLOCKING },
	{ "urgent-lasting", urgent, POLLED },
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/* Runs this end to its end, tells of it and closes. */
static void run(struct end *end, const struct hello *hello)
{
	const struct scenario *scenario = &scenarios[hello->scenario];
	int on = 1;

	end->style = scenario->style;
	end->rng = hello->seed;
	end->chance = hello->seed * 3 + end->server;
	end->tx_seed = mix(hello->seed + (end->server ? 1 : 2));
	end->rx_seed = mix(hello->seed + (end->server ? 2 : 1));
	end->buf = malloc(CHUNK_MAX);
	end->epoll = -1;
	setsockopt(end->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	set_blocking(end, end->style == BLOCKING || end->style == TIMED);
	if (end->style == EDGE) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };

		end->epoll = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(end->epoll, EPOLL_CTL_ADD, end->fd, &event);
	}
	if (scenario->run(end) == 0 && !end->seen[0])
		strcpy(end->seen, "ok");
	close(end->fd);
	if (end->epoll >= 0)
		close(end->epoll);
	free(end->buf);
	printf("%s %u %s\n", scenario->name, hello->index, end->seen);
}

struct job {
	struct end end;
	struct hello hello;
	struct sockaddr_in to;
};

static void *serve_one(void *arg)
{
	struct job *job = arg;

	if (recv(job->end.fd, &job->hello, sizeof(job->hello), MSG_WAITALL) == sizeof(job->hello) &&
	    job->hello.scenario < SCENARIOS)
		run(&job->end, &job->hello);
	else
		close(job->end.fd);
	free(job);
	return NULL;
}

static int dial(const struct job *job, enum style style)
{
	bool later = style != BLOCKING;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (later ? SOCK_NONBLOCK : 0), 0);
	struct pollfd one = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof(int);
	int error = 0;

	if (connect(fd, (struct sockaddr *)&job->to, sizeof(job->to)) == 0)
		return fd;
	if (errno == EINPROGRESS && poll(&one, 1, hang_ms) == 1 &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
		return fd;
	close(fd);
	return -1;
}

static void *call_one(void *arg)
{
	struct job *job = arg;

	job->end.fd = dial(job, scenarios[job->hello.scenario].style);
	if (job->end.fd < 0)
		printf("%s %u refused\n", scenarios[job->hello.scenario].name, job->hello.index);
	else if (send(job->end.fd, &job->hello, sizeof(job->hello), MSG_NOSIGNAL) < 0)
		printf("%s %u cut\n", scenarios[job->hello.scenario].name, job->hello.index);
	else
		run(&job->end, &job->hello);
	free(job);
	return NULL;
}

static void start(void *(*body)(void *), struct job *job)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, body, job)) {
		perror("thread");
		exit(1);
	}
}

static int serve(in_port_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 4096) < 0) {
		perror("listen");
		return 1;
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct job *job;

		if (fd < 0)
			continue;
		job = calloc(1, sizeof(*job));
		job->end.fd = fd;
		job->end.server = true;
		start(serve_one, job);
	}
}

static int call(const char *address, in_port_t port)
{
	unsigned long long seed;
	unsigned first, count;
	char name[32];

	while (scanf("%31s %llu %u %u", name, &seed, &first, &count) == 4) {
		uint32_t at = 0;

		while (at < SCENARIOS && strcmp(scenarios[at].name, name))
			at++;
		if (at == SCENARIOS) {
			fprintf(stderr, "no scenario %s\n", name);
			return 2;
		}
		for (unsigned i = first; i < first + count; i++) {
			struct job *job = calloc(1, sizeof(*job));

			job->to.sin_family = AF_INET;
			job->to.sin_port = htons(port);
			if (inet_pton(AF_INET, address, &job->to.sin_addr) != 1)
				return 2;
			job->hello = (struct hello){ at, i, mix(seed + at * 1000003ull + i) };
			start(call_one, job);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *patience = getenv("SHUNT_LAB_PATIENCE");

	if (patience && atoi(patience) > 1)
		hang_ms *= atoi(patience);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "call") == 0)
		return call(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: integrity serve PORT | call ADDRESS PORT\n");
	return 2;
}
