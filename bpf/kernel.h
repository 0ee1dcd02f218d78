/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel structures that acceleration and netns.h read, with only the members
 * they read; libbpf relocates each access to the running kernel's layout through BTF.
 */
#ifndef SHUNT_KERNEL_H
#define SHUNT_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct sk_buff_head {
	__u32 qlen;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct file {
	unsigned int f_flags;
	struct hlist_head *f_ep;
};

/* Before 5.11 (319c15174757). */
struct file___listed {
	struct list_head f_ep_links;
};

struct epoll_event {
	__u32 events;
};

/* That one epoll set waits for one file. Up to 5.10 fllink is a list_head, which begins alike. */
struct epitem {
	struct hlist_node fllink;
	struct epoll_event event;
};

struct socket {
	struct file *file;
};

struct net {
	__u64 net_cookie;
};

/* Before 5.12 (3d368ab87cf6). */
struct net___lazy {
	struct {
		__s64 counter;
	} net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	struct socket *sk_socket;
	void *sk_user_data;
	int sk_rcvlowat;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const void *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 write_seq;
	__u32 urg_seq;
	__u32 data_segs_in;
	__u32 data_segs_out;
	__u64 bytes_received;
	__u64 bytes_acked;
};

struct sk_psock {
	struct list_head ingress_msg;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

/* Context of iter/bpf_sk_storage_map. */
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

enum sock_flags {
	SOCK_ZEROCOPY,
};

#pragma clang attribute pop

#define TCP_ESTABLISHED 1
#define O_NONBLOCK 04000
#define EPOLLRDHUP (1U << 13)
#define EPOLLET (1U << 31)

#endif
