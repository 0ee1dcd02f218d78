/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * bpf/policy.h built for this machine, for `shunt explain` and the tests: reads
 * one case a line, prints verdict and rule as numbers.
 *
 *   out FLAGS TUNNEL UIDS GIDS PORTS CIDRS UID GID CONFIRMED LOCAL PORT DADDR SADDR
 *   in  FLAGS TUNNEL UIDS GIDS PORTS CIDRS PORT LOCAL
 *
 * Lists are comma-separated, "-" when empty; PORTS holds list:port or
 * list:first-last, CIDRS holds list:address/bits, addresses are 32 hex digits.
 */
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bpf/layout.h"

/* ::/0 alone is 96 prefixes around the IPv4-mapped block; a manifest of 1 MiB has no more CIDRs. */
#define MAX_RULES 131072

struct cidr_rule {
	int list, bits;
	struct addr addr;
};

static struct {
	int list[MAX_RULES], first[MAX_RULES], last[MAX_RULES], count;
} ports;
static struct {
	struct cidr_rule rule[MAX_RULES];
	int count;
} cidrs;

static bool port_listed(int list, int port)
{
	for (int i = 0; i < ports.count; i++)
		if (ports.list[i] == list && ports.first[i] <= port && port <= ports.last[i])
			return true;
	return false;
}

static bool cidr_listed(int list, const struct addr *a)
{
	for (int i = 0; i < cidrs.count; i++) {
		const struct cidr_rule *r = &cidrs.rule[i];
		bool same = r->list == list;

		for (int bit = 0; bit < r->bits && same; bit++) {
			int mask = 0x80 >> (bit % 8);

			same = (r->addr.bytes[bit / 8] & mask) == (a->bytes[bit / 8] & mask);
		}
		if (same)
			return true;
	}
	return false;
}

#define POLICY_PORT_LISTED(id, list, port) port_listed(list, port)
#define POLICY_CIDR_LISTED(id, list, addr) cidr_listed(list, addr)
#include "../../bpf/policy.h"

static char *word(void)
{
	char *w = strtok(NULL, " \n");

	if (!w) {
		fprintf(stderr, "case is cut short\n");
		exit(2);
	}
	return w;
}

static struct addr hex_addr(const char *text)
{
	struct addr a;

	for (int i = 0; i < 16; i++) {
		unsigned int byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			exit(2);
		a.bytes[i] = byte;
	}
	return a;
}

static int ids(char *text, __u32 *out)
{
	int n = 0;

	for (char *at = text; *text != '-' && at && n < SHUNT_MAX_PROXY_IDS; n++) {
		out[n] = strtoul(at, &at, 10);
		at = *at == ',' ? at + 1 : NULL;
	}
	return n;
}

static void too_many(void)
{
	fprintf(stderr, "more than %d rules\n", MAX_RULES);
	exit(2);
}

static void read_ports(char *text)
{
	ports.count = 0;
	for (char *at = text; *text != '-' && at; ports.count++) {
		if (ports.count == MAX_RULES)
			too_many();
		ports.list[ports.count] = strtol(at, &at, 10);
		ports.first[ports.count] = strtol(at + 1, &at, 10);
		ports.last[ports.count] = ports.first[ports.count];
		if (*at == '-')
			ports.last[ports.count] = strtol(at + 1, &at, 10);
		at = *at == ',' ? at + 1 : NULL;
	}
}

static void read_cidrs(char *text)
{
	cidrs.count = 0;
	for (char *at = text; *text != '-' && at; cidrs.count++) {
		struct cidr_rule *r = &cidrs.rule[cidrs.count];

		if (cidrs.count == MAX_RULES)
			too_many();
		r->list = strtol(at, &at, 10);
		r->addr = hex_addr(at + 1);
		r->bits = strtol(at + 1 + 32 + 1, &at, 10);
		at = *at == ',' ? at + 1 : NULL;
	}
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0) {
		char *direction = strtok(line, " \n");
		struct policy p = { 0 };
		struct decision d;

		if (!direction)
			continue;
		p.flags = atoi(word());
		p.tunnel_port = atoi(word());
		p.proxy_uid_count = ids(word(), p.proxy_uids);
		p.proxy_gid_count = ids(word(), p.proxy_gids);
		read_ports(word());
		read_cidrs(word());
		if (!strcmp(direction, "out")) {
			struct outbound_facts f = { 0 };

			f.uid = strtoul(word(), NULL, 10);
			f.gid = strtoul(word(), NULL, 10);
			f.identity_confirmed = atoi(word());
			f.local = atoi(word());
			f.port = atoi(word());
			f.daddr = hex_addr(word());
			f.saddr = hex_addr(word());
			d = decide_outbound(&p, &f);
		} else {
			struct inbound_facts f = { 0 };

			f.port = atoi(word());
			f.local = atoi(word());
			d = decide_inbound(&p, &f);
		}
		printf("%d %d\n", d.verdict, d.rule);
	}
	return 0;
}
