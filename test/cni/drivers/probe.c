// SPDX-License-Identifier: Apache-2.0
/*
 * The whole image of the containers of these tests.
 *
 *   probe                       stays, as a pause container does
 *   probe connect ADDRESS PORT  connects once, prints what the other end says or why it did not
 *   probe serve PORT            tells whoever connects by which address it came
 *   probe soak ADDRESS PORT     connects a hundred times a second, and prints each time as above
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

static int ask(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	char line[200];
	ssize_t bytes;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	alarm(10);
	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		puts(errno == ECONNREFUSED ? "refused" : strerror(errno));
	} else {
		bytes = read(fd, line, sizeof(line) - 1);
		if (bytes > 0)
			fwrite(line, 1, bytes, stdout);
		else
			puts(bytes == 0 ? "closed" : strerror(errno));
	}
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{

	signal(SIGTERM, end);
	signal(SIGINT, end);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc < 4)
		for (;;)
			pause();
	if (strcmp(argv[1], "soak") != 0)
		return ask(argv[2], atoi(argv[3]));
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		ask(argv[2], atoi(argv[3]));
		usleep(10000);
	}
}
