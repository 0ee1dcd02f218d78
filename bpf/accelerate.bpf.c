// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Acceleration by observation. Nothing enters the sockhash when it is established:
 * a socket in it behaves differently even when nothing is redirected, and short
 * connections would only pay. The iterator, run by the agent a few times a second,
 * promotes both ends of a pair that has shown itself to be request and response on
 * non-blocking sockets, and takes out again what stops being so; the sk_msg program
 * then redirects a message when that cannot change the order of bytes, nor queue
 * without bound, and else lets it go by TCP. Doing nothing is always right.
 */
#include "shunt.h"
#include "kernel.h"
#include "settings.h"
#include "conns.h"
#include "flows.h"
#include "counters.h"
#include "pods.h"
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Data segments each way before a connection's habits can be judged. */
#define MIN_SEGMENTS 4
/* More segments one way than this many times the other is a stream. */
#define MAX_SKEW 8
/* A drained_seq older than this many bytes could be an earlier lap of the numbers. */
#define SEQ_TRUST_BYTES (1ULL << 31)
/* A connection is young for so long: what it is may show any moment. */
#define YOUNG_NS 5000000000ULL
/* Rounds that a sender of more than may wait stays with TCP. */
#define STOP_ROUNDS 8
/*
 * Rounds in a row in which nothing came and nothing waited, before a socket leaves the
 * sockhash: a sender that looked before the first of them has long handed its message over.
 */
#define QUIET_ROUNDS 4
#define EEXIST 17
#define MARK_SOON '.'
#define MARK_HELD ':'
/*
 * An application's socket is watched for so long, a walk every quarter of a second, for how
 * it is polled: HAProxy polls only while it wants to read.
 */
#define WATCH_NS 1500000000ULL
/* Epoll sets of one socket that are looked at; nearly always there is one. */
#define MAX_EPOLLS 4
/* psock pointers carry flags in their low bits. */
#define PSOCK_MASK (~7ULL)

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* socket cookie */
	__type(value, __u64);
} shunt_socks SEC(".maps");

/* The iterator's alone. A pod whose entry is evicted counts anew from the next walk on. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, __u64); /* netns cookie */
	__type(value, struct budget);
} shunt_budgets SEC(".maps");

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
static __always_inline bool is_fit(struct sock *sk, struct tcp_sock *tp)
{
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : 0;
	int zerocopy = bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY);

	/* A blocking recv() on a socket in a sockhash may return EAGAIN. */
	if (!file || !(file->f_flags & O_NONBLOCK))
		return false;
	if (tp->inet_conn.icsk_ulp_ops || sk->sk_rcvlowat > 1)
		return false;
	/* It has had urgent data: redirected, the next would be bytes like any other. */
	if (tp->urg_seq)
		return false;
	return !(sk->__sk_common.skc_flags & (1UL << zerocopy));
}

/* What was redirected to the sidecar's port is the sidecar's, marked or not. */
static __always_inline bool is_sidecars(const struct conn *conn)
{
	__u32 accepted = CONN_SERVER | CONN_REDIRECTED;

	return conn->flags & CONN_SIDECAR ||
	       (conn->flags & (accepted | CONN_TO_POD)) == accepted;
}

enum polled { NOT_POLLED_SO, POLLED_SO, POLL_UNKNOWN };

/* Whether one of the epoll sets that a socket is in waits for it with any of these events. */
static __always_inline enum polled polled_with(struct sock *sk, __u32 events)
{
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : 0;
	struct file___listed *listed = (void *)file;
	void *node = 0, *end = 0;

	if (!file)
		return POLL_UNKNOWN;
	if (bpf_core_field_exists(file->f_ep)) {
		struct hlist_head *head = BPF_CORE_READ(file, f_ep);

		if (head)
			node = BPF_CORE_READ(head, first);
	} else if (bpf_core_field_exists(listed->f_ep_links)) {
		end = (void *)file + bpf_core_field_offset(struct file___listed, f_ep_links);
		if (bpf_probe_read_kernel(&node, sizeof(node), end))
			return POLL_UNKNOWN;
	} else {
		return POLL_UNKNOWN;
	}
	for (int i = 0; i < MAX_EPOLLS && node && node != end; i++) {
		struct epitem *item = node - bpf_core_field_offset(struct epitem, fllink);

		if (BPF_CORE_READ(item, event.events) & events)
			return POLLED_SO;
		if (bpf_probe_read_kernel(&node, sizeof(node), node))
			return POLL_UNKNOWN;
	}
	return node && node != end ? POLL_UNKNOWN : NOT_POLLED_SO;
}

/*
 * An application is redirected to where its pod opted in, and only if it reads until there
 * is nothing. Elsewhere it is sent everything by TCP, and this does not matter. One that is
 * polled edge-triggered, or for the end of what its peer sends, may take a short read for the
 * last, and stop where redirected bytes end and TCP's begin. Nginx and HAProxy do; whatever
 * is written in Go is polled so, too, and its io.Copy() splices.
 */
static __always_inline bool app_reads_all(struct conn *conn, struct sock *sk, const struct pod *pod)
{
	if (!(pod->flags & POD_ACCEL_FULL))
		return true;
	if (polled_with(sk, EPOLLET | EPOLLRDHUP) != NOT_POLLED_SO)
		conn->flags |= CONN_EDGE;
	return !(conn->flags & CONN_EDGE) && bpf_ktime_get_ns() - conn->since_ns >= WATCH_NS;
}

/*
 * A sidecar that nobody vouched for has to be polled as Envoy is, which reads until there is
 * nothing: edge-triggered. A mesh's pod may have had another proxy put in its place.
 */
static __always_inline bool sidecar_reads_all(struct sock *sk, const struct pod *pod)
{
	return pod->flags & POD_ACCEL_VOUCHED || polled_with(sk, EPOLLET) == POLLED_SO;
}

/*
 * Whether it may be in the sockhash as its pod and this kernel stand now: what turns the pod's
 * acceleration off takes its live connections out. Without a pod, withdrawn meanwhile, an
 * application has nobody's leave.
 */
static __always_inline bool may_be_in(struct conn *conn, struct sock *sk)
{
	__u64 netns = conn->netns;
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &netns);

	if (!pod)
		return is_sidecars(conn);
	if (!(pod->flags & POD_ACCEL_OUTBOUND))
		return false;
	if (is_sidecars(conn))
		return sidecar_reads_all(sk, pod);
	return accel_of_apps(pod) && app_reads_all(conn, sk, pod);
}

/* An application of a pod that has not opted in, or no longer, is sent everything by TCP. */
static __always_inline bool takes_redirected(const struct conn *conn)
{
	__u64 netns = conn->netns;
	struct pod *pod;

	if (is_sidecars(conn))
		return true;
	pod = bpf_map_lookup_elem(&shunt_pods, &netns);
	return pod && pod->flags & POD_ACCEL_FULL;
}

static __always_inline struct sk_psock *psock_of(const struct sock *sk)
{
	return (void *)((__u64)BPF_CORE_READ(sk, sk_user_data) & PSOCK_MASK);
}

enum waiting { NOTHING_WAITS, SOMETHING_WAITS, NO_QUEUE };

/* Whether redirected bytes wait unread at a socket, which may be anybody's. */
static __always_inline enum waiting waiting_at(const struct sock *sk)
{
	struct sk_psock *psock = psock_of(sk);
	struct list_head *head, *next = 0;

	if (!psock)
		return NO_QUEUE;
	head = (void *)psock + bpf_core_field_offset(struct sk_psock, ingress_msg);
	if (bpf_probe_read_kernel(&next, sizeof(next), head))
		return NO_QUEUE;
	return next == head ? NOTHING_WAITS : SOMETHING_WAITS;
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

/* And tells it: only now, for most connections do not live so long. */
static __always_inline void tell_peer(struct conn *conn)
{
	struct peer peer = { .cookie = conn->self, .flags = CONN_PAIRED };
	__u64 client = conn->peer;
	long err;

	if (conn->flags & CONN_PEER_SENDS)
		peer.flags |= CONN_SEND_ACCEL;
	/* An earlier version of these programs may have told it already. */
	err = bpf_map_update_elem(&shunt_peers, &client, &peer, BPF_NOEXIST);
	if (!err || err == -EEXIST)
		conn->flags |= CONN_TOLD;
}

/*
 * What may wait unread at one end: all ends of a pod divide what the pod may have among them.
 * A walk counts them; the one before it found as many, or a few more or less.
 */
static __always_inline __u32 share_of(const struct conn *conn, const struct settings *settings)
{
	__u64 netns = conn->netns;
	struct budget *budget = bpf_map_lookup_elem(&shunt_budgets, &netns), fresh = {};
	__u32 sharers, share;

	if (!budget) {
		bpf_map_update_elem(&shunt_budgets, &netns, &fresh, BPF_NOEXIST);
		budget = bpf_map_lookup_elem(&shunt_budgets, &netns);
		if (!budget)
			return 0;
	}
	if (budget->round != settings->round) {
		budget->last = settings->round - budget->round == 1 ? budget->count : 0;
		budget->count = 0;
		budget->round = settings->round;
	}
	budget->count++;
	sharers = budget->count > budget->last ? budget->count : budget->last;
	share = settings->pod_backlog_bytes / sharers;
	return share < settings->backlog_bytes ? share : settings->backlog_bytes;
}

/* To the agent: MARK_SOON when the next round should come soon, MARK_HELD while somebody is in the sockhash. */
static __always_inline void tell_agent(struct bpf_iter__bpf_sk_storage_map *ctx, char mark)
{
	bpf_seq_write(ctx->meta->seq, &mark, sizeof(mark));
}

static __always_inline void ask_for_more(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	tell_agent(ctx, MARK_SOON);
}

/*
 * A socket that is no longer fit: its peer sends it nothing new from now on, and once
 * nothing can be on its way to it, it leaves. What is in its queue then would be lost.
 */
static __always_inline void watch_promoted(struct bpf_iter__bpf_sk_storage_map *ctx,
					   struct conn *conn, struct sock *sk, struct tcp_sock *tp,
					   const struct settings *settings)
{
	__u64 self = conn->self, peer = conn->peer, in;
	__u32 round = settings->round;
	struct flow *flow = bpf_map_lookup_elem(&shunt_flows, &self);
	struct flow *theirs = bpf_map_lookup_elem(&shunt_flows, &peer);
	bool stopped;

	if (!flow)
		return;
	flow->share_bytes = share_of(conn, settings);
	flow->is_closed = !takes_redirected(conn);
	in = *(volatile __u64 *)&flow->in_bytes;
	stopped = flow->stop_round && round - flow->stop_round < STOP_ROUNDS;
	if (flow->state == FLOW_PROMOTED) {
		if (is_fit(sk, tp) && may_be_in(conn, sk) && !stopped && theirs &&
		    theirs->state != FLOW_LEAVING) {
			if (waiting_at(sk) == NOTHING_WAITS)
				flow->done_bytes = in;
			tell_agent(ctx, MARK_HELD);
			return;
		}
		flow->state = FLOW_LEAVING;
		flow->fit_round = round;
		flow->done_bytes = in;
		ask_for_more(ctx);
		return;
	}
	ask_for_more(ctx);
	if (waiting_at(sk) != NOTHING_WAITS || flow->done_bytes != in) {
		flow->done_bytes = in;
		flow->fit_round = round;
		return;
	}
	if (round - flow->fit_round < QUIET_ROUNDS)
		return;
	if (bpf_map_delete_elem(&shunt_socks, &self))
		return;
	conn->flags &= ~(CONN_PROMOTED | CONN_WATCHED);
	bpf_map_delete_elem(&shunt_flows, &self);
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
	__u64 self, peer, age;
	__u32 round;
	bool is_allowed;

	if (!sk || !conn || !settings || !(settings->flags & SETTINGS_ACCEL))
		return 0;
	if (!(conn->flags & CONN_ACCEL) || sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	round = settings->round;
	if (conn->flags & CONN_PROMOTED) {
		watch_promoted(ctx, conn, sk, tp, settings);
		return 0;
	}
	if (!(conn->flags & CONN_PAIRED) && (conn->flags & CONN_CLIENT))
		learn_peer(conn);
	if (!(conn->flags & CONN_PAIRED))
		return 0;
	age = bpf_ktime_get_ns() - conn->since_ns;
	if (age < YOUNG_NS)
		ask_for_more(ctx);
	/* At every walk, whatever else holds: it remembers what it sees. */
	is_allowed = may_be_in(conn, sk);
	if (age < settings->min_age_ns)
		return 0;
	if ((conn->flags & (CONN_SERVER | CONN_TOLD)) == CONN_SERVER)
		tell_peer(conn);
	if (!is_fit(sk, tp) || !looks_request_response(tp, settings->max_message_bytes) ||
	    !is_allowed)
		return 0;

	self = conn->self;
	peer = conn->peer;
	flow = bpf_map_lookup_elem(&shunt_flows, &self);
	if (!flow) {
		fresh.sk = (__u64)sk;
		fresh.fit_round = round;
		/* Before the entry is there: whoever closes the socket meanwhile takes it away. */
		conn->flags |= CONN_WATCHED;
		bpf_map_update_elem(&shunt_flows, &self, &fresh, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&shunt_flows, &self);
		if (!flow)
			return 0;
		ask_for_more(ctx);
	}
	flow->fit_round = round;
	/* Both ends, in this round or the last: one alone would only pay. */
	theirs = bpf_map_lookup_elem(&shunt_flows, &peer);
	if (!theirs)
		return 0;
	if (theirs->state == FLOW_LEAVING) {
		ask_for_more(ctx);
		return 0;
	}
	if (theirs->state == FLOW_CANDIDATE && round - theirs->fit_round > 1)
		return 0;
	flow->share_bytes = share_of(conn, settings);
	flow->is_closed = !takes_redirected(conn);
	if (bpf_map_update_elem(&shunt_socks, &self, sk, BPF_NOEXIST))
		return 0;
	conn->flags |= CONN_PROMOTED;
	flow->state = FLOW_PROMOTED;
	count(conn->netns, COUNTER_PROMOTED);
	ask_for_more(ctx);
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

	if (sk->sk_receive_queue.qlen == 0) {
		me->drained_seq = tp->rcv_nxt;
		me->drained = 1;
	}
}

/*
 * True when every byte this end sent by TCP has been read by the peer: redirected
 * data is read first, so redirecting earlier would reorder. The peer's own number is
 * looked at where the kernel keeps it right; elsewhere the peer has to have told.
 */
static __always_inline bool in_order(struct flow *me, const struct flow *theirs,
				     const struct tcp_sock *tp, const struct settings *settings)
{
	const struct tcp_sock *peer = (void *)theirs->sk;
	__u32 drained;

	if (settings->flags & SETTINGS_PEER_SEQ) {
		__u32 copied;

		return !bpf_core_read(&copied, sizeof(copied), &peer->copied_seq) &&
		       copied == tp->write_seq;
	}
	drained = *(volatile __u32 *)&theirs->drained_seq;
	if (!theirs->drained)
		return false;
	if (drained != me->seen_seq) {
		me->seen_seq = drained;
		me->tcp_since = 0;
	}
	return tp->write_seq == drained && me->tcp_since < SEQ_TRUST_BYTES;
}

/*
 * While redirected bytes wait unread, what comes after them is redirected as well, even
 * when it would rather not be: a reader gets the two kinds by two calls, and one that takes
 * a short read for the last (epoll(7) allows it) would stop between them. Only past its
 * share of the backlog is there no choice.
 */
static __always_inline bool may_redirect(struct flow *me, struct flow *theirs, __u32 size,
					 const struct settings *settings)
{
	__u64 in = *(volatile __u64 *)&theirs->in_bytes;

	switch (waiting_at((void *)theirs->sk)) {
	case SOMETHING_WAITS:
		if (in - theirs->done_bytes + size <= theirs->share_bytes)
			return true;
		me->stop_round = settings->round ?: 1;
		return false;
	case NOTHING_WAITS:
		theirs->done_bytes = in;
		break;
	default:
		return false;
	}
	if (!(settings->flags & SETTINGS_ACCEL) || theirs->state != FLOW_PROMOTED ||
	    theirs->is_closed || me->state != FLOW_PROMOTED)
		return false;
	if (me->stop_round && settings->round - me->stop_round < STOP_ROUNDS)
		return false;
	return size <= settings->max_message_bytes && size <= theirs->share_bytes;
}

static __always_inline int by_tcp(const struct conn *conn, struct flow *me, __u32 size)
{
	me->tcp_since += size;
	count(conn->netns, COUNTER_TCP_MESSAGES);
	return SK_PASS;
}

/* One lookup for both: it is most of what counting costs. */
static __always_inline void count_redirected(const struct conn *conn, __u32 size)
{
	__u64 netns = conn->netns;
	struct counters *c = bpf_map_lookup_elem(&shunt_counters, &netns);

	if (!c)
		return;
	c->values[COUNTER_ACCEL_MESSAGES]++;
	c->values[COUNTER_ACCEL_BYTES] += size;
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
	if (!(conn->flags & CONN_SEND_ACCEL))
		return by_tcp(conn, me, size);
	theirs = bpf_map_lookup_elem(&shunt_flows, &peer);
	if (!theirs)
		return by_tcp(conn, me, size);
#ifdef SHUNT_NAIVE /* never in what is shipped: test/integrity builds it so, and must find it out */
	(void)may_redirect;
	(void)in_order;
	if (!(settings->flags & SETTINGS_ACCEL))
		return by_tcp(conn, me, size);
#else
	if (!may_redirect(me, theirs, size, settings) || !in_order(me, theirs, tp, settings))
		return by_tcp(conn, me, size);
#endif
	if (bpf_msg_redirect_hash(msg, &shunt_socks, &peer, BPF_F_INGRESS) != SK_PASS)
		return by_tcp(conn, me, size);
	theirs->in_bytes += size;
	count_redirected(conn, size);
	return SK_PASS;
}
