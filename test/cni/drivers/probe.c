// SPDX-License-Identifier: Apache-2.0
/*
 * The whole image of the containers of these tests.
 *
 *   probe                       stays, as a pause container does
 *   probe connect ADDRESS PORT  connects once, prints what the other end says or why it did not
 *   probe serve PORT            tells whoever connects by which address it came
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static int serve(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 64) != 0) {
		perror("serve");
		return 1;
	}
	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof(from);
		char text[INET_ADDRSTRLEN];
		int fd = accept(listener, (struct sockaddr *)&from, &size);

		if (fd < 0)
			continue;
		inet_ntop(AF_INET, &from.sin_addr, text, sizeof(text));
		dprintf(fd, "peer %s\n", text);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char line[200];
	ssize_t bytes;
	int fd;

	signal(SIGTERM, end);
	signal(SIGINT, end);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc < 4)
		for (;;)
			pause();
	alarm(10);
	to.sin_port = htons(atoi(argv[3]));
	inet_pton(AF_INET, argv[2], &to.sin_addr);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		puts(errno == ECONNREFUSED ? "refused" : strerror(errno));
		return 0;
	}
	bytes = read(fd, line, sizeof(line) - 1);
	if (bytes > 0)
		fwrite(line, 1, bytes, stdout);
	return 0;
}
