/*
 * Runs programs as a container runtime runs CNI plugins, and tells how long each took, from
 * posix_spawn() to its end: without the interpreter of whoever asks, and without a copy of
 * its address space.
 *
 * Standard input, for each program: a line `<variables> <bytes of its standard input> <path>`,
 * a line for each environment variable, the bytes.
 * Standard output: a line `<nanoseconds> <exit code> <bytes of its standard output>`, the bytes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_VARIABLES 64
#define MAX_BYTES (1 << 16)

static void fail(const char *what)
{
	fprintf(stderr, "timed_exec: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Without its end of line; the caller's to free. */
static char *read_line(void)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length = getline(&line, &room, stdin);

	if (length < 1)
		fail("a line is missing");
	line[length - 1] = '\0';
	return line;
}

/* Runs it and gives its exit code; `output` has what it wrote. */
static int run(char *path, char **environment, const char *input, size_t bytes, char *output,
	       size_t *written)
{
	char *argv[] = { path, NULL };
	posix_spawn_file_actions_t actions;
	int in[2], out[2], status;
	ssize_t got;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		fail("pipe2");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	errno = posix_spawn(&pid, path, &actions, NULL, argv, environment);
	if (errno)
		fail(path);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	/* A program that does not read is no fault: EPIPE. All of it fits into the pipe. */
	if (write(in[1], input, bytes) < 0 && errno != EPIPE)
		fail("write");
	close(in[1]);
	*written = 0;
	while ((got = read(out[0], output + *written, MAX_BYTES - *written)) > 0)
		*written += got;
	close(out[0]);
	if (waitpid(pid, &status, 0) < 0)
		fail("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	static char input[MAX_BYTES], output[MAX_BYTES];
	char *environment[MAX_VARIABLES + 1];

	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int first = getc(stdin), variables, path_at, code;
		size_t bytes, written;
		long long start;
		char *line;

		if (first == EOF)
			return 0;
		ungetc(first, stdin);
		line = read_line();
		if (sscanf(line, "%d %zu %n", &variables, &bytes, &path_at) != 2 || variables < 0 ||
		    variables > MAX_VARIABLES || bytes > MAX_BYTES) {
			errno = EINVAL;
			fail(line);
		}
		for (int i = 0; i < variables; i++)
			environment[i] = read_line();
		environment[variables] = NULL;
		if (fread(input, 1, bytes, stdin) != bytes)
			fail("input is missing");
		start = now_ns();
		code = run(line + path_at, environment, input, bytes, output, &written);
		printf("%lld %d %zu\n", now_ns() - start, code, written);
		fwrite(output, 1, written, stdout);
		fflush(stdout);
		for (int i = 0; i < variables; i++)
			free(environment[i]);
		free(line);
	}
}
