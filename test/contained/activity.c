// SPDX-License-Identifier: Apache-2.0
/* One process that does, over the loopback of both families, every socket call that some cgroup program is asked about. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCP_PORT 7007
#define DNS_PORT 53

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "activity: %s: %s\n", what, strerror(errno));
	exit(1);
}

static socklen_t loopback(int family, int port, struct sockaddr_storage *address)
{
	struct sockaddr_in *in = (void *)address;
	struct sockaddr_in6 *in6 = (void *)address;

	memset(address, 0, sizeof(*address));
	address->ss_family = family;
	if (family == AF_INET) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	in6->sin6_addr = in6addr_loopback;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static void over_tcp(int family)
{
	int listener = socket(family, SOCK_STREAM, 0), client = socket(family, SOCK_STREAM, 0), server, one = 1;
	struct sockaddr_storage to, got;
	socklen_t size = loopback(family, TCP_PORT, &to), room;
	char byte = 'x';

	need(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "setsockopt");
	need(bind(listener, (void *)&to, size), "bind");
	need(listen(listener, 1), "listen");
	need(connect(client, (void *)&to, size), "connect");
	server = accept(listener, NULL, NULL);
	need(server, "accept");
	room = sizeof(got);
	/* The answer differs from place to place. */
	getsockopt(server, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, SO_ORIGINAL_DST, &got, &room);
	room = sizeof(got);
	need(getsockname(server, (void *)&got, &room), "getsockname");
	room = sizeof(got);
	need(getpeername(client, (void *)&got, &room), "getpeername");
	need(write(client, &byte, 1), "write");
	need(read(server, &byte, 1), "read");
	close(client);
	close(server);
	close(listener);
}

static void over_udp(int family)
{
	int server = socket(family, SOCK_DGRAM, 0), client = socket(family, SOCK_DGRAM, 0);
	struct sockaddr_storage at, from;
	socklen_t size = loopback(family, DNS_PORT, &at), room = sizeof(from);
	char byte = 'x';

	need(bind(server, (void *)&at, size), "bind");
	need(sendto(client, &byte, 1, 0, (void *)&at, size), "sendto");
	need(recvfrom(server, &byte, 1, 0, (void *)&from, &room), "recvfrom");
	need(sendto(server, &byte, 1, 0, (void *)&from, room), "sendto");
	room = sizeof(from);
	need(recvfrom(client, &byte, 1, 0, (void *)&from, &room), "recvfrom");
	need(connect(client, (void *)&at, size), "connect");
	close(client);
	close(server);
}

int main(void)
{
	int families[] = { AF_INET, AF_INET6 };

	for (int i = 0; i < 2; i++) {
		over_tcp(families[i]);
		over_udp(families[i]);
	}
	return 0;
}
