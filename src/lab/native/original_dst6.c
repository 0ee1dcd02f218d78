// SPDX-License-Identifier: Apache-2.0
/*
 * Loaded into HAProxy, whose releases ask for the original destination of IPv4
 * connections only: makes getsockname() of a redirected IPv6 connection answer
 * with SO_ORIGINAL_DST, as HAProxy itself does for IPv4. A connection that was
 * not redirected shows another local port than the listener's and is left alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IP6T_SO_ORIGINAL_DST 80
#define OUTBOUND_PORT 15001
#define INBOUND_PORT 15006

int getsockname(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	struct sockaddr_in6 original;
	socklen_t size = sizeof(original);
	socklen_t room = *len;
	in_port_t port;

	if (syscall(SYS_getsockname, fd, addr, len) < 0)
		return -1;
	if (addr->sa_family != AF_INET6 || room < sizeof(original))
		return 0;
	port = ntohs(((struct sockaddr_in6 *)addr)->sin6_port);
	if (port != OUTBOUND_PORT && port != INBOUND_PORT)
		return 0;
	if (getsockopt(fd, IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, &original, &size) == 0)
		memcpy(addr, &original, sizeof(original));
	return 0;
}
