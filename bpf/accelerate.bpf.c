// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Acceleration by observation. Nothing enters the sockhash when it is established:
 * a socket in it behaves differently even when nothing is redirected, and short
 * connections would only pay. The iterator, run by the agent a few times a second,
 * promotes both ends of a pair that has shown itself to be request and response on
 * non-blocking sockets; the sk_msg program then redirects a message when that
 * cannot change the order of bytes, nor queue without bound, and else lets it go
 * by TCP. Doing nothing is always right.
 */
#include "shunt.h"
#include "kernel.h"
#include "settings.h"
#include "conns.h"
#include "flows.h"
#include "counters.h"
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Data segments each way before a connection's habits can be judged. */
#define MIN_SEGMENTS 4
/* More segments one way than this many times the other is a stream. */
#define MAX_SKEW 8
/* A drained_seq older than this many bytes could be an earlier lap of the numbers. */
#define SEQ_TRUST_BYTES (1ULL << 31)
/* psock pointers carry flags in their low bits. */
#define PSOCK_MASK (~7ULL)

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* socket cookie */
	__type(value, __u64);
} shunt_socks SEC(".maps");

/* How the connection has been used so far: short messages, both ways. */
static __always_inline bool looks_request_response(struct tcp_sock *tp, __u32 max_message)
{
	__u32 in = tp->data_segs_in, out = tp->data_segs_out;

	if (in < MIN_SEGMENTS || out < MIN_SEGMENTS)
		return false;
	if (in > MAX_SKEW * out || out > MAX_SKEW * in)
		return false;
	return tp->bytes_received <= (__u64)in * max_message &&
	       tp->bytes_acked <= (__u64)out * max_message;
}

/* What a socket must be so that being in a sockhash changes nothing it does. */
static __always_inline bool is_fit(struct sock *sk, struct tcp_sock *tp,
				   const struct settings *settings)
{
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : 0;
	int zerocopy = bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY);

	/* A blocking recv() on a socket in a sockhash may return EAGAIN. */
	if (!file || !(file->f_flags & O_NONBLOCK))
		return false;
	if (tp->inet_conn.icsk_ulp_ops || sk->sk_rcvlowat > 1)
		return false;
	if (sk->__sk_common.skc_flags & (1UL << zerocopy))
		return false;
	return looks_request_response(tp, settings->max_message_bytes);
}

/* Learns from the accepting side which socket it is talking to. */
static __always_inline void learn_peer(struct conn *conn)
{
	__u64 self = conn->self;
	struct peer *peer = bpf_map_lookup_elem(&shunt_peers, &self);

	if (!peer)
		return;
	conn->peer = peer->cookie;
	conn->flags |= peer->flags;
}

SEC("iter/bpf_sk_storage_map")
int shunt_promote(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	const struct settings *settings = settings_get();
	struct conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct flow *flow, *theirs;
	struct tcp_sock *tp;
	struct flow fresh = {};
	__u64 self, peer;
	__u32 round;

	if (!sk || !conn || !settings || !(settings->flags & SETTINGS_ACCEL))
		return 0;
	if (!(conn->flags & CONN_ACCEL) || (conn->flags & CONN_PROMOTED))
		return 0;
	if (sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return 0;
	if (!(conn->flags & CONN_PAIRED) && (conn->flags & CONN_CLIENT))
		learn_peer(conn);
	if (!(conn->flags & CONN_PAIRED))
		return 0;
	if (bpf_ktime_get_ns() - conn->since_ns < settings->min_age_ns)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !is_fit(sk, tp, settings))
		return 0;

	round = settings->round;
	self = conn->self;
	peer = conn->peer;
	flow = bpf_map_lookup_elem(&shunt_flows, &self);
	if (!flow) {
		fresh.peer = peer;
		fresh.fit_round = round;
		bpf_map_update_elem(&shunt_flows, &self, &fresh, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&shunt_flows, &self);
		if (!flow)
			return 0;
	}
	flow->fit_round = round;
	/* Both ends, in this round or the last: one alone would only pay. */
	theirs = bpf_map_lookup_elem(&shunt_flows, &peer);
	if (!theirs || round - theirs->fit_round > 1)
		return 0;
	if (bpf_map_update_elem(&shunt_socks, &self, sk, BPF_NOEXIST))
		return 0;
	conn->flags |= CONN_PROMOTED;
	flow->promoted = 1;
	count(conn->netns, COUNTER_PROMOTED);
	return 0;
}

/*
 * This end tells its peer how far it has read. Under its own socket lock, so that
 * the receive queue and rcv_nxt belong together: with nothing of TCP unread, all up
 * to rcv_nxt has been consumed. (Not copied_seq: on kernels before b40cc5adaa80 reading
 * redirected data moved that too.)
 */
static __always_inline void publish(struct flow *me, struct tcp_sock *tp)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	struct sk_psock *psock = (void *)((__u64)sk->sk_user_data & PSOCK_MASK);
	__u64 in = *(volatile __u64 *)&me->in_bytes;
	struct list_head *head, *next = 0;

	if (sk->sk_receive_queue.qlen == 0) {
		me->drained_seq = tp->rcv_nxt;
		me->drained = 1;
	}
	if (!psock)
		return;
	head = (void *)psock + bpf_core_field_offset(struct sk_psock, ingress_msg);
	if (!bpf_probe_read_kernel(&next, sizeof(next), head) && next == head)
		me->done_bytes = in;
}

/*
 * True when every byte this end sent by TCP has been read by the peer: redirected
 * data is read first, so redirecting earlier would reorder.
 */
static __always_inline bool in_order(struct flow *me, const struct flow *theirs,
				     const struct tcp_sock *tp)
{
	__u32 drained = *(volatile __u32 *)&theirs->drained_seq;

	if (!theirs->drained)
		return false;
	if (drained != me->seen_seq) {
		me->seen_seq = drained;
		me->tcp_since = 0;
	}
	return tp->write_seq == drained && me->tcp_since < SEQ_TRUST_BYTES;
}

static __always_inline int by_tcp(const struct conn *conn, struct flow *me, __u32 size)
{
	me->tcp_since += size;
	count(conn->netns, COUNTER_TCP_MESSAGES);
	return SK_PASS;
}

SEC("sk_msg")
int shunt_msg(struct sk_msg_md *msg)
{
	const struct settings *settings = settings_get();
	struct bpf_sock *sk = msg->sk;
	struct flow *me, *theirs;
	struct tcp_sock *tp;
	struct conn *conn;
	__u32 size = msg->size;
	__u64 self, peer;

	if (!sk || !settings)
		return SK_PASS;
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	if (!conn || !(conn->flags & CONN_PROMOTED))
		return SK_PASS;
	self = conn->self;
	peer = conn->peer;
	me = bpf_map_lookup_elem(&shunt_flows, &self);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!me || !tp)
		return SK_PASS;
	publish(me, tp);
	if (!(settings->flags & SETTINGS_ACCEL) || !(conn->flags & CONN_SEND_ACCEL))
		return by_tcp(conn, me, size);
	theirs = bpf_map_lookup_elem(&shunt_flows, &peer);
	if (!theirs || !theirs->promoted)
		return by_tcp(conn, me, size);
	/* Never in what is shipped: test/integrity builds it so, and must find it out. */
#ifndef SHUNT_NAIVE
	if (size > settings->max_message_bytes)
		return by_tcp(conn, me, size);
	if (!in_order(me, theirs, tp))
		return by_tcp(conn, me, size);
	if (theirs->in_bytes - theirs->done_bytes + size > settings->backlog_bytes)
		return by_tcp(conn, me, size);
#endif
	if (bpf_msg_redirect_hash(msg, &shunt_socks, &peer, BPF_F_INGRESS) != SK_PASS)
		return by_tcp(conn, me, size);
	theirs->in_bytes += size;
	count(conn->netns, COUNTER_ACCEL_MESSAGES);
	count_by(conn->netns, COUNTER_ACCEL_BYTES, size);
	return SK_PASS;
}
