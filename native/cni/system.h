/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few system calls that the plugin makes, without a C library: nodes with musl, glibc
 * of any age or none at all (Talos, Bottlerocket, Flatcar) run the same file, and its start costs an exec
 * and nothing else.
 */
#ifndef SHUNT_CNI_SYSTEM_H
#define SHUNT_CNI_SYSTEM_H

#include <asm/unistd.h>
#include <linux/time_types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EINTR 4
#define EAGAIN 11
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOCK_NONBLOCK 04000
#define SOCK_CLOEXEC 02000000
#define SOL_SOCKET 1
#define SO_PEERCRED 17
#define MSG_NOSIGNAL 0x4000
#define CLOCK_MONOTONIC 1
#define AT_FDCWD -100
#define POLLIN 1
#define POLLOUT 4

struct pollfd {
	int fd;
	short events, revents;
};

struct sockaddr_un {
	uint16_t family;
	char path[108];
};

struct ucred {
	int pid;
	uint32_t uid, gid;
};

/* -errno where it fails, as the kernel gives it. */
#if defined(__x86_64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
/* argc, argv and envp stand on the stack, which start() gets as a pointer. */
__asm__(".text\n.globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#elif defined(__aarch64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
__asm__(".text\n.globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tand sp, x0, #-16\n\tbl start\n");
#else
#error "no system calls for this architecture"
#endif

#define CALL(n, a, b, c, d, e) call6(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* clang makes calls of these by itself. */
void *memcpy(void *to, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *)to)[i] = value;
	return to;
}

size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

static _Noreturn void leave(int code)
{
	for (;;)
		CALL(exit_group, code, 0, 0, 0, 0);
}

static int64_t now_ms(void)
{
	struct __kernel_timespec t;

	CALL(clock_gettime, CLOCK_MONOTONIC, &t, 0, 0, 0);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* False when the deadline came first. */
static bool wait_until(int fd, short events, int64_t deadline_ms)
{
	for (;;) {
		int64_t left = deadline_ms - now_ms();
		struct __kernel_timespec t = { left / 1000, left % 1000 * 1000000 };
		struct pollfd poll = { fd, events, 0 };
		long ready;

		if (left <= 0)
			return false;
		ready = CALL(ppoll, &poll, 1, &t, 0, 8);
		if (ready != -EINTR)
			return ready > 0;
	}
}

static void sleep_ms(int64_t ms)
{
	struct __kernel_timespec t = { ms / 1000, ms % 1000 * 1000000 };

	CALL(ppoll, 0, 0, &t, 0, 8);
}

static void write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		long n = CALL(write, fd, text, bytes, 0, 0);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			sleep_ms(1);
			continue;
		}
		if (n <= 0)
			return;
		text += n;
		bytes -= n;
	}
}

#endif
