// SPDX-License-Identifier: Apache-2.0
/* connect() by io_uring, with nothing but its system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "puppet.h"

struct ring {
	int fd;
	char *queues, *entries;
	size_t queues_size, entries_size;
	struct io_uring_params params;
};

/* Negative with errno where the kernel has no io_uring, or forbids it. */
static int ring_open(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0)
		return -1;
	if (!(ring->params.features & IORING_FEAT_SINGLE_MMAP)) {
		errno = ENOSYS;
		return -1;
	}
	ring->queues_size = ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe);
	if (ring->queues_size < ring->params.sq_off.array + ring->params.sq_entries * sizeof(unsigned))
		ring->queues_size = ring->params.sq_off.array + ring->params.sq_entries * sizeof(unsigned);
	ring->entries_size = ring->params.sq_entries * sizeof(struct io_uring_sqe);
	ring->queues = mmap(NULL, ring->queues_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			    IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ring->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			     ring->fd, IORING_OFF_SQES);
	if (ring->queues == MAP_FAILED || ring->entries == MAP_FAILED)
		die("mmap of the ring");
	return 0;
}

static void ring_close(struct ring *ring)
{
	munmap(ring->entries, ring->entries_size);
	munmap(ring->queues, ring->queues_size);
	close(ring->fd);
}

/* Submits one entry and waits for its result. */
static int ring_run(struct ring *ring, const struct io_uring_sqe *entry)
{
	unsigned *tail = (void *)(ring->queues + ring->params.sq_off.tail);
	unsigned mask = *(unsigned *)(ring->queues + ring->params.sq_off.ring_mask);
	unsigned *array = (void *)(ring->queues + ring->params.sq_off.array);
	unsigned *head = (void *)(ring->queues + ring->params.cq_off.head);
	unsigned *done = (void *)(ring->queues + ring->params.cq_off.tail);
	struct io_uring_cqe *results = (void *)(ring->queues + ring->params.cq_off.cqes);
	unsigned at = *tail & mask;
	int result;

	((struct io_uring_sqe *)ring->entries)[at] = *entry;
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(done, __ATOMIC_ACQUIRE) == *head)
		if (syscall(SYS_io_uring_enter, ring->fd, *head == *done, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 &&
		    errno != EINTR)
			die("io_uring_enter");
	result = results[*head & *(unsigned *)(ring->queues + ring->params.cq_off.ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

/* ring-connect FD HOST PORT [async]: `async` has a worker thread of the kernel make the call */
static void call_ring_connect(int argc, char **argv)
{
	struct io_uring_sqe entry = { .opcode = IORING_OP_CONNECT, .fd = atoi(argv[1]) };
	struct sockaddr_storage address;
	struct ring ring;
	int result;

	if (ring_open(&ring)) {
		answer_text("unavailable", error_name(errno));
		answer_end();
		return;
	}
	entry.off = parse_address(argv[2], argv[3], &address);
	entry.addr = (uintptr_t)&address;
	if (argc > 4)
		entry.flags = IOSQE_ASYNC;
	result = ring_run(&ring, &entry);
	ring_close(&ring);
	answer_text("result", result < 0 ? error_name(-result) : "ok");
	answer_end();
}

const struct call ring_calls[] = {
	{ "ring-connect", 3, call_ring_connect },
	{ NULL, 0, NULL },
};
