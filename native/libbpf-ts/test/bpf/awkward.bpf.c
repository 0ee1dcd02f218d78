/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Types that are awkward to write down in TypeScript. Compiled and generated from, loaded by nobody. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Reached by pointer alone, as kernel types are: must not be generated. */
struct task_struct {
	int pid;
	struct task_struct *parent;
} __attribute__((preserve_access_index));

/* Two tags that are one name in TypeScript. */
enum Item {
	ITEM_SMALL = -1,
	ITEM_LARGE = 300,
};

struct item {
	enum Item kind;
	enum {
		MODE_OFF,
		MODE_ON,
	} mode;
	int (*handler)(void);
};

typedef struct {
	long wide;
	struct {
		__u8 first : 4;
		__u8 second : 4;
	};
} typedef_only_t;

enum byte_flags {
	BYTE_ONE = 1,
	BYTE_TOP = 128,
} __attribute__((packed));

struct matrix {
	__u16 cells[2][3];
	char names[2][8];
	typedef_only_t inner[2];
	enum byte_flags flags;
	float ratio;
	double precise;
	struct item items[2];
} __attribute__((packed));

union address {
	__be32 four;
	__u8 six[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, union address);
	__type(value, struct matrix);
} matrices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 6);
	__uint(value_size, 4);
} untyped SEC(".maps");

const struct task_struct *(*not_a_type)(void);

static int helper(struct task_struct *task)
{
	return task->pid;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	return helper((void *)0);
}

char LICENSE[] SEC("license") = "GPL";
