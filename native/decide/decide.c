/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * bpf/policy.h built for this machine, for `shunt explain` and the tests: reads
 * one case a line, prints verdict and rule as numbers.
 *
 *   out FLAGS TUNNEL UIDS GIDS PORTS CIDRS UID GID CONFIRMED LOCAL PORT DADDR SADDR
 *   in  FLAGS TUNNEL UIDS GIDS PORTS CIDRS PORT LOCAL
 *
 * Lists are comma-separated, "-" when empty; PORTS holds list:port or
 * list:first-last, CIDRS holds list:address/bits, addresses are 32 hex digits. More
 * words may follow: localhost=ADDRESS/BITS of IPv4, ids=list:first-last=SET,...,
 * remote=ADDRESS, and query for UDP. A port range may end in =SET as well.
 */
#include <arpa/inet.h>
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

struct ranges {
	int list[MAX_RULES], count;
	__u32 first[MAX_RULES], last[MAX_RULES];
	__u64 set[MAX_RULES];
};
static struct ranges port_rules, id_rules;
static struct {
	struct cidr_rule rule[MAX_RULES];
	int count;
} cidrs;

/* The set of the narrowest range, as a prefix trie has it. */
static __u64 set_of(const struct ranges *r, int list, __u32 value)
{
	__u64 set = 0;
	__u32 narrowest = ~0u;

	for (int i = 0; i < r->count; i++) {
		if (r->list[i] != list || value < r->first[i] || value > r->last[i])
			continue;
		if (r->last[i] - r->first[i] > narrowest)
			continue;
		narrowest = r->last[i] - r->first[i];
		set = r->set[i];
	}
	return set;
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

#define POLICY_PORT_SET(policy, list, port) set_of(&port_rules, list, port)
#define POLICY_ID_SET(policy, list, id) set_of(&id_rules, list, id)
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

	for (int i = 0; i < SHUNT_MAX_PROXY_IDS; i++)
		out[i] = SHUNT_NO_ID;
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

static void read_ranges(struct ranges *r, char *text)
{
	r->count = 0;
	for (char *at = text; *text != '-' && at; r->count++) {
		int i = r->count;

		if (i == MAX_RULES)
			too_many();
		r->list[i] = strtol(at, &at, 10);
		r->first[i] = r->last[i] = strtoul(at + 1, &at, 10);
		if (*at == '-')
			r->last[i] = strtoul(at + 1, &at, 10);
		r->set[i] = *at == '=' ? strtoull(at + 1, &at, 10) : 1;
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

/* The words that may follow a case. */
struct more {
	struct addr remote;
	bool query;
};

static struct more read_more(struct policy *p)
{
	struct more more = { 0 };

	id_rules.count = 0;
	p->localhost4 = htonl(0x7f000001);
	p->localhost4_mask = ~0u;
	for (char *w = strtok(NULL, " \n"); w; w = strtok(NULL, " \n")) {
		if (!strncmp(w, "localhost=", 10)) {
			struct addr a = hex_addr(w + 10);
			int bits = atoi(w + 10 + 32 + 1);

			p->localhost4_mask = bits ? htonl(~0u << (32 - bits)) : 0;
			p->localhost4 = addr_words(&a).w[3] & p->localhost4_mask;
		} else if (!strncmp(w, "ids=", 4)) {
			read_ranges(&id_rules, w + 4);
		} else if (!strncmp(w, "remote=", 7)) {
			more.remote = hex_addr(w + 7);
		} else if (!strcmp(w, "query")) {
			more.query = true;
		} else {
			fprintf(stderr, "unknown word %s\n", w);
			exit(2);
		}
	}
	return more;
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
		read_ranges(&port_rules, word());
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
			d = read_more(&p).query ? decide_query(&p, &f) : decide_outbound(&p, &f);
		} else {
			struct inbound_facts f = { 0 };

			f.port = atoi(word());
			f.local = atoi(word());
			f.remote = read_more(&p).remote;
			d = decide_inbound(&p, &f);
		}
		printf("%d %d\n", d.verdict, d.rule);
	}
	return 0;
}
