// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Joins the two ends of a connection, and captures the sidecar's listener.
 *
 * The original destination is recorded in TCP_CONNECT_CB, when the source port is
 * chosen and no SYN has left, and moves to the accepted socket's storage in
 * PASSIVE_ESTABLISHED, which the kernel runs before accept() can return it.
 */
#include "shunt.h"
#include "pods.h"
#include "settings.h"
#include "conns.h"
#include "roles.h"
#include "pairs.h"
#include "flows.h"
#include "listeners.h"
#include "targets.h"
#include "events.h"

#if defined(NETNS_BY_BTF)
#include "netns.h"
#elif defined(NETNS_BY_ROLE)
/* As the listener was marked: 0 for one that nobody knows to be the sidecar's. */
static __always_inline __u64 netns_of(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct listener_role *role = bpf_sk_storage_get(&shunt_roles, sk, 0, 0);

	return role ? role->netns : 0;
}
#else
static __always_inline __u64 netns_of(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	return bpf_get_netns_cookie(ctx);
}
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void read_tuple(struct bpf_sock_ops *ctx, struct addr *local,
				       struct addr *remote, __u16 *lport, __u16 *rport)
{
	READ_ADDRS(ctx, local, remote);
	*lport = CTX_WORD(ctx->local_port);
	*rport = bpf_ntohl(CTX_WORD(ctx->remote_port));
}

/* The key as the connecting side has it. */
static __always_inline void key_of_client(struct pair_key *key, struct bpf_sock_ops *ctx,
					  __u64 netns)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = netns;
	read_tuple(ctx, &key->saddr, &key->daddr, &key->sport, &key->dport);
}

static __always_inline void key_of_server(struct pair_key *key, struct bpf_sock_ops *ctx,
					  __u64 netns)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = netns;
	read_tuple(ctx, &key->daddr, &key->saddr, &key->dport, &key->sport);
}

static __always_inline __u64 recorded_netns(const struct conn *conn)
{
	return conn->flags & CONN_CROSS_NETNS ? 0 : conn->netns;
}

static __always_inline void on_connect(struct bpf_sock_ops *ctx, struct conn *conn)
{
	struct pair_key key;
	struct pair pair = {};
	long err;

	key_of_client(&key, ctx, recorded_netns(conn));
	pair.orig = conn->orig;
	pair.flags = conn->flags;
	pair.client = conn->self;
	pair.client_netns = conn->netns;
	if (conn->flags & CONN_REDIRECTED)
		err = bpf_map_update_elem(&shunt_pairs, &key, &pair, BPF_ANY);
	else
		err = bpf_map_update_elem(&shunt_offers, &key, &pair, BPF_ANY);
	if (err && (conn->flags & CONN_REDIRECTED)) {
		/* The sidecar will see its own address as destination, and refuse it as a loop. */
		count(conn->netns, COUNTER_PAIR_LOST);
		event_of_socket(conn->netns, EVENT_PAIR_LOST, &conn->orig);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The client's numbers, before its ACK leaves: the server checks itself against them. */
static __always_inline void on_client_established(struct bpf_sock_ops *ctx, struct conn *conn)
{
	struct pair_key key;
	struct pair *pair;

	if (!(conn->flags & CONN_ACCEL))
		return;
	conn->since_ns = bpf_ktime_get_ns();
	key_of_client(&key, ctx, recorded_netns(conn));
	if (conn->flags & CONN_REDIRECTED)
		pair = bpf_map_lookup_elem(&shunt_pairs, &key);
	else
		pair = bpf_map_lookup_elem(&shunt_offers, &key);
	if (!pair || pair->client != conn->self)
		return;
	pair->client_snd_nxt = ctx->snd_nxt;
	pair->client_rcv_nxt = ctx->rcv_nxt;
	/* Data in the SYN (fast open) moved the numbers already: no proof then. */
	pair->seq_valid = ctx->data_segs_out == 0;
}

/*
 * Fills in acceleration's part once both ends are known; the client is told by the
 * iterator, if the connection lives so long. An end may redirect to a sidecar; to an
 * application only where its pod asked for it, because a reader that splices loses
 * redirected data.
 */
static __always_inline void join(struct bpf_sock_ops *ctx, struct conn *conn,
				 const struct pair *pair, const struct pod *pod, bool server_sidecar)
{
	bool client_sidecar = pair->flags & CONN_SIDECAR;
	bool full = pod->flags & POD_ACCEL_FULL;

	if (!(pair->flags & CONN_ACCEL) || !(pod->flags & POD_ACCEL_OUTBOUND))
		return;
	if (!pair->seq_valid || pair->client_snd_nxt != ctx->rcv_nxt ||
	    pair->client_rcv_nxt != ctx->snd_nxt)
		return;
	/* One end alone would only pay. */
	if (!server_sidecar && !accel_of_apps(pod))
		return;
	if (!bpf_map_lookup_elem(&shunt_pods, &pair->client_netns))
		return;
	conn->peer = pair->client;
	conn->flags |= CONN_PAIRED | CONN_ACCEL;
	if (client_sidecar || full)
		conn->flags |= CONN_SEND_ACCEL;
	if (server_sidecar || full)
		conn->flags |= CONN_PEER_SENDS;
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	count(conn->netns, COUNTER_PAIRED);
}

static __always_inline void on_server_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	__u64 netns = netns_of(ctx, sk);
	struct pod *pod = bpf_map_lookup_elem(&shunt_pods, &netns);
	bool redirected = true;
	__u32 sidecar = 0;
	struct pair_key key;
	struct pair *pair;
	struct conn *conn;

	if (!pod)
		return;
	if (bpf_sk_storage_get(&shunt_roles, sk, 0, 0))
		sidecar = 1;
	barrier_var(sidecar); /* or clang ORs the pointer itself */
	key_of_server(&key, ctx, netns);
	pair = bpf_map_lookup_elem(&shunt_pairs, &key);
	if (!pair) {
		bool apps = accel_of_apps(pod);

		if (!(pod->flags & POD_ACCEL_OUTBOUND) || !(apps || (sidecar && accel_enabled())))
			return;
		redirected = false;
		/* What stays in the pod is offered for applications alone. */
		if (apps)
			pair = bpf_map_lookup_elem(&shunt_offers, &key);
		if (!pair) {
			key.netns = 0;
			pair = bpf_map_lookup_elem(&shunt_offers, &key);
		}
		if (!pair)
			return;
	}
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		if (redirected) {
			count(netns, COUNTER_PAIR_LOST);
			event_of_socket(netns, EVENT_STORAGE_FAILED, &pair->orig);
		}
		goto forget;
	}
	conn->orig = pair->orig;
	conn->flags = CONN_SERVER | (redirected ? CONN_REDIRECTED : 0) |
		      (sidecar ? CONN_SIDECAR : 0) | (pair->flags & CONN_TO_POD);
	conn->netns = netns;
	conn->self = bpf_get_socket_cookie(ctx);
	conn->peer = 0;
	conn->since_ns = bpf_ktime_get_ns();
	/* What was redirected to the sidecar's port is the sidecar's, marked or not. */
	join(ctx, conn, pair, pod, sidecar || (redirected && !(pair->flags & CONN_TO_POD)));
forget:
	if (redirected)
		bpf_map_delete_elem(&shunt_pairs, &key);
	else
		bpf_map_delete_elem(&shunt_offers, &key);
}

/* Only a server that is old enough is told of by the iterator, and its client is older. */
static __always_inline bool may_be_told(const struct conn *conn)
{
	const struct settings *settings = settings_get();

	return !settings || bpf_ktime_get_ns() - conn->since_ns >= settings->min_age_ns;
}

static __always_inline void on_close(struct bpf_sock_ops *ctx, struct conn *conn)
{
	__u64 self = conn->self;

	if (conn->flags & CONN_CLIENT) {
		struct pair_key key;

		key_of_client(&key, ctx, recorded_netns(conn));
		if (conn->flags & CONN_REDIRECTED)
			bpf_map_delete_elem(&shunt_pairs, &key);
		else
			bpf_map_delete_elem(&shunt_offers, &key);
		if ((conn->flags & CONN_ACCEL) && may_be_told(conn))
			bpf_map_delete_elem(&shunt_peers, &self);
	}
	if (conn->flags & (CONN_WATCHED | CONN_PROMOTED))
		bpf_map_delete_elem(&shunt_flows, &self);
}

/*
 * A sidecar that takes outbound connections on one address only (Linkerd on 127.0.0.1)
 * is sent them there; the newest listener tells.
 */
static __always_inline void learn_target(struct bpf_sock_ops *ctx, __u64 netns)
{
	struct target_key key = { .netns = netns };
	struct listening_at at = {};
	struct addr remote;

	READ_ADDRS(ctx, &at.addr, &remote);
	key.family = addr_is4(&at.addr) ? AF_INET : ctx->family;
	if (addr_is_any(&at.addr))
		bpf_map_delete_elem(&shunt_targets, &key);
	else
		bpf_map_update_elem(&shunt_targets, &key, &at, BPF_ANY);
}

/* Keeps the newest listeners: when all slots are taken, the oldest key gives way. */
static __always_inline void on_listen(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct listener_role *role = bpf_sk_storage_get(&shunt_roles, sk, 0, 0);
	struct listener_key key = {};
	struct pod *pod;
	long err = -1;

	if (!role)
		return;
	key.netns = role->netns;
	key.family = ctx->family;
	pod = bpf_map_lookup_elem(&shunt_pods, &key.netns);
	role->port = ctx->local_port;
	if (!pod)
		return;
	if (role->port == pod->outbound_port)
		learn_target(ctx, key.netns);
	if (role->port != pod->inbound_port)
		return;
	for (__u32 i = 0; i < SHUNT_LISTENER_SLOTS && err; i++) {
		key.slot = i;
		err = bpf_sock_hash_update(ctx, &shunt_listeners, &key, BPF_NOEXIST);
	}
	if (err) {
		key.slot = bpf_get_prandom_u32() % SHUNT_LISTENER_SLOTS;
		err = bpf_sock_hash_update(ctx, &shunt_listeners, &key, BPF_ANY);
	}
	count(key.netns, err ? COUNTER_LISTENER_LOST : COUNTER_LISTENER_CAPTURED);
	if (err) {
		struct endpoint at = { .port = bpf_htons(pod->inbound_port),
				       .family = key.family };

		event_of_socket(key.netns, EVENT_LISTENER_LOST, &at);
	}
}

SEC("sockops")
int shunt_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct conn *conn;

	if (!sk)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		on_listen(ctx, sk);
		return 1;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_server_established(ctx, sk);
		return 1;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			return 1;
		break;
	default:
		return 1;
	}
	conn = bpf_sk_storage_get(&shunt_conns, sk, 0, 0);
	if (!conn || !(conn->flags & (CONN_CLIENT | CONN_SERVER)))
		return 1;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		on_connect(ctx, conn);
	else if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		on_client_established(ctx, conn);
	else
		on_close(ctx, conn);
	return 1;
}
