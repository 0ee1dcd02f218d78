// SPDX-License-Identifier: Apache-2.0
/*
 * The chained CNI plugin: hands the call to the agent of this node over its unix
 * socket and prints what it answers. It knows no pod and holds no credential. What it decides
 * itself is what to do when no agent answers: pods that are known not to be of a mesh, and the agent's
 * own, pass; others are told to try again (error 11), so that none starts without its redirect.
 *
 * Settings, keys of its entry in the conflist (all may be left out):
 *   "socket"      path of the agent's socket
 *   "deadlineMs"  for the whole call
 *   "left"        directory with a file, named by its UID, for each pod that the agent leaves alone
 *   "pass"        {"namespaces": ["kube-system"], "pods": ["NAMESPACE/PREFIX"]}
 *
 * To the agent:   SHUNT-CNI 1 <bytes of variables> <bytes of stdin>\n, variables each ending in NUL, stdin
 * From the agent: SHUNT-CNI 1 <code> <bytes>\n, an error of CNI as JSON when the code is not 0
 */
#include "json.h"

#define DEFAULT_SOCKET "/run/shunt/cni.sock"
#define DEFAULT_LEFT "/run/shunt/left"
#define DEFAULT_DEADLINE_MS 15000
#define GREETING "SHUNT-CNI 1 "
#define MAX_STDIN (64 * 1024)
#define MAX_VARIABLES (32 * 1024)
#define MAX_ANSWER (64 * 1024)
#define SUPPORTED "[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]"
#define NEWEST "1.1.0"

/* Codes of the specification, section "Error". */
enum cni_error {
	INCOMPATIBLE_VERSION = 1,
	BAD_VARIABLES = 4,
	IO_FAILURE = 5,
	UNDECODABLE = 6,
	BAD_CONFIG = 7,
	TRY_AGAIN = 11,
	UNAVAILABLE = 50, /* STATUS: ADD cannot be served */
};

static char stdin_text[MAX_STDIN + 1], answer[MAX_ANSWER + 64];
static char variables[MAX_VARIABLES];
static size_t variables_bytes;
static char out[2048];
static size_t out_bytes;

static struct {
	struct slice command, args, config, version;
	struct slice socket, left, pass;
	int64_t deadline_ms;
} call;

static struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

static void put(struct slice text)
{
	for (size_t i = 0; i < text.bytes && out_bytes < sizeof(out); i++)
		out[out_bytes++] = text.at[i];
}

static void put_text(const char *text)
{
	put(slice_of(text));
}

static void put_number(int64_t number)
{
	char digits[20];
	int n = sizeof(digits);

	do {
		digits[--n] = '0' + number % 10;
		number /= 10;
	} while (number > 0);
	put((struct slice){ digits + n, sizeof(digits) - n });
}

static struct slice version_said(void)
{
	return call.version.at == NULL ? slice_of(NEWEST) : call.version;
}

/* Of the catalogue in src/errors.ts, and what to do. */
static const struct {
	enum cni_error code;
	const char *name, *fix;
} reasons[] = {
	{ INCOMPATIBLE_VERSION, "SHUNT_E_CNI_CONFIG", "have the conflist say a version that the plugin knows" },
	{ BAD_VARIABLES, "SHUNT_E_CNI_VARIABLES", "the container runtime sets them" },
	{ IO_FAILURE, "SHUNT_E_CNI_REQUEST", "the runtime tries again by itself" },
	{ UNDECODABLE, "SHUNT_E_CNI_CONFIG", "correct the conflist" },
	{ BAD_CONFIG, "SHUNT_E_CNI_CONFIG", "correct the conflist, or write the entry anew with shunt cni install" },
	{ TRY_AGAIN, "SHUNT_E_AGENT_DOWN", "start the agent of this node; the runtime tries again by itself" },
	{ UNAVAILABLE, "SHUNT_E_AGENT_DOWN", "start the agent of this node" },
};

/* Ends with an error of CNI; DEL ends well whatever happened, or the runtime would never be rid of the pod. */
static _Noreturn void fail(enum cni_error code, const char *message, struct slice about)
{
	bool is_del = same(call.command, "DEL");

	if (is_del)
		put_text("shunt-cni: DEL: ");
	else {
		put_text("{\"cniVersion\":\"");
		put(version_said());
		put_text("\",\"code\":");
		put_number(code);
		put_text(",\"msg\":\"");
	}
	put_text("shunt: ");
	put_text(message);
	if (about.at != NULL)
		put(about);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].code != code)
			continue;
		put_text(" [");
		put_text(reasons[i].name);
		put_text(is_del ? "]" : "]\",\"details\":\"");
		if (!is_del)
			put_text(reasons[i].fix);
	}
	put_text(is_del ? "\n" : "\"}\n");
	write_all(is_del ? 2 : 1, out, out_bytes);
	leave(is_del ? 0 : 1);
}

static const struct slice nothing = { NULL, 0 };

static bool starts_with(const char *text, const char *start)
{
	for (; *start; text++, start++)
		if (*text != *start)
			return false;
	return true;
}

/* CNI_PATH is of no use to the agent. */
static void read_variables(char **environment)
{
	bool too_long = false;

	for (; *environment; environment++) {
		size_t bytes = strlen(*environment) + 1;

		if (!starts_with(*environment, "CNI_") || starts_with(*environment, "CNI_PATH="))
			continue;
		if (starts_with(*environment, "CNI_COMMAND="))
			call.command = slice_of(*environment + 12);
		if (starts_with(*environment, "CNI_ARGS="))
			call.args = slice_of(*environment + 9);
		if (bytes > MAX_VARIABLES - variables_bytes) {
			too_long = true;
			continue;
		}
		memcpy(variables + variables_bytes, *environment, bytes);
		variables_bytes += bytes;
	}
	if (too_long)
		fail(BAD_VARIABLES, "the CNI_ variables are longer than 32 KiB", nothing);
}

static void read_stdin(int64_t deadline_ms)
{
	size_t bytes = 0;

	for (;;) {
		long n;

		if (!wait_until(0, POLLIN, deadline_ms))
			fail(IO_FAILURE, "the network configuration did not come in time", nothing);
		n = CALL(read, 0, stdin_text + bytes, sizeof(stdin_text) - bytes, 0, 0);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			fail(IO_FAILURE, "the network configuration cannot be read from stdin", nothing);
		if (n == 0)
			break;
		bytes += n;
		if (bytes > MAX_STDIN)
			fail(UNDECODABLE, "the network configuration is longer than 64 KiB", nothing);
	}
	call.config = (struct slice){ stdin_text, bytes };
}

static bool is_version(struct slice text, const void *version)
{
	const struct slice *wanted = version;

	if (text.bytes != wanted->bytes)
		return false;
	for (size_t i = 0; i < text.bytes; i++)
		if (text.at[i] != wanted->at[i])
			return false;
	return true;
}

static bool is_path(struct slice text)
{
	if (text.at == NULL || text.bytes == 0 || text.bytes >= 100 || text.at[0] != '/')
		return false;
	return true;
}

static void read_config(void)
{
	struct slice given, deadline;

	call.socket = slice_of(DEFAULT_SOCKET);
	call.left = slice_of(DEFAULT_LEFT);
	if (!is_object(call.config))
		fail(UNDECODABLE, "the network configuration is not a JSON object", nothing);
	given = plain_string(member(call.config, "cniVersion"));
	if (given.at == NULL || !any_string(slice_of(SUPPORTED), is_version, &given))
		fail(INCOMPATIBLE_VERSION, "cniVersion is none of 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0", nothing);
	call.version = given;
	given = member(call.config, "socket");
	if (given.at != NULL && !is_path(plain_string(given)))
		fail(BAD_CONFIG, "socket is to be an absolute path of less than 100 bytes", nothing);
	if (given.at != NULL)
		call.socket = plain_string(given);
	given = member(call.config, "left");
	if (given.at != NULL && !is_path(plain_string(given)))
		fail(BAD_CONFIG, "left is to be an absolute path of less than 100 bytes", nothing);
	if (given.at != NULL)
		call.left = plain_string(given);
	call.pass = member(call.config, "pass");
	deadline = member(call.config, "deadlineMs");
	if (deadline.at != NULL) {
		call.deadline_ms = whole_number(deadline);
		if (call.deadline_ms < 10 || call.deadline_ms > 600000)
			fail(BAD_CONFIG, "deadlineMs is to be a number from 10 to 600000", nothing);
	}
}

/* The value of a key of CNI_ARGS (K=V;K=V in any order); none where it is missing, and where it comes twice. */
static struct slice argument(const char *key)
{
	struct slice found = nothing;
	const char *at = call.args.at, *end = at + call.args.bytes;
	size_t key_bytes = strlen(key);

	if (at == NULL)
		return found;
	while (at < end) {
		const char *stop = at;

		while (stop < end && *stop != ';')
			stop++;
		if ((size_t)(stop - at) > key_bytes && at[key_bytes] == '=' &&
		    same((struct slice){ at, key_bytes }, key)) {
			if (found.at != NULL)
				return nothing;
			found = (struct slice){ at + key_bytes + 1, stop - at - key_bytes - 1 };
		}
		at = stop + 1;
	}
	return found;
}

static bool is_namespace(struct slice text, const void *namespace)
{
	return is_version(text, namespace);
}

/* "NAMESPACE/PREFIX" against the pod's namespace and name. */
static bool is_own(struct slice text, const void *pod)
{
	const struct slice *namespace = pod, *name = namespace + 1;
	size_t rest = namespace->bytes + 1;

	if (text.bytes <= rest || text.at[namespace->bytes] != '/' || text.bytes - rest > name->bytes)
		return false;
	for (size_t i = 0; i < namespace->bytes; i++)
		if (text.at[i] != namespace->at[i])
			return false;
	for (size_t i = rest; i < text.bytes; i++)
		if (text.at[i] != name->at[i - rest])
			return false;
	return true;
}

/* True when the agent noted, while it ran, that it leaves the pod alone. */
static bool is_left(struct slice uid)
{
	char path[256];
	size_t bytes = call.left.bytes;

	if (uid.at == NULL || uid.bytes == 0 || uid.bytes > 128)
		return false;
	for (size_t i = 0; i < uid.bytes; i++)
		if (!is_digit(uid.at[i]) && uid.at[i] != '-' && !((uid.at[i] | 0x20) >= 'a' && (uid.at[i] | 0x20) <= 'z'))
			return false;
	memcpy(path, call.left.at, bytes);
	path[bytes] = '/';
	memcpy(path + bytes + 1, uid.at, uid.bytes);
	path[bytes + 1 + uid.bytes] = 0;
	return CALL(faccessat, AT_FDCWD, path, 0, 0, 0) == 0;
}

/* What passes without an agent. */
static bool is_known_unmeshed(void)
{
	struct slice pod[2] = { argument("K8S_POD_NAMESPACE"), argument("K8S_POD_NAME") };

	if (pod[0].at == NULL || pod[1].at == NULL)
		return false;
	return any_string(member(call.pass, "namespaces"), is_namespace, pod) ||
	       any_string(member(call.pass, "pods"), is_own, pod) || is_left(argument("K8S_POD_UID"));
}

static _Noreturn void succeed(void)
{
	if (same(call.command, "ADD")) {
		struct slice result = member(call.config, "prevResult");

		write_all(1, result.at, result.bytes);
		write_all(1, "\n", 1);
	}
	leave(0);
}

static _Noreturn void agent_away(const char *why)
{
	if (same(call.command, "STATUS"))
		fail(UNAVAILABLE, why, call.socket);
	if ((same(call.command, "ADD") || same(call.command, "CHECK")) && is_known_unmeshed())
		succeed();
	fail(TRY_AGAIN, why, call.socket);
}

static int connect_agent(int64_t deadline_ms)
{
	struct sockaddr_un address = { AF_UNIX, "" };
	struct ucred peer = { 0, -1, -1 };
	uint32_t peer_bytes = sizeof(peer);
	long fd = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, 0, 0);
	long result;

	if (fd < 0)
		fail(IO_FAILURE, "no socket can be opened", nothing);
	memcpy(address.path, call.socket.at, call.socket.bytes);
	/* EAGAIN: the agent's queue is full. */
	while ((result = CALL(connect, fd, &address, sizeof(address), 0, 0)) == -EAGAIN || result == -EINTR) {
		if (now_ms() >= deadline_ms)
			agent_away("the agent did not take the call in time on ");
		sleep_ms(2);
	}
	if (result < 0)
		agent_away("no agent answers on ");
	/* Whoever may write to the directory could have put a socket of his own there. */
	if (CALL(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) < 0 || peer.uid != 0)
		agent_away("somebody who is not root listens on ");
	return fd;
}

static void send_all(int fd, const char *text, size_t bytes, int64_t deadline_ms)
{
	while (bytes > 0) {
		long n = CALL(sendto, fd, text, bytes, MSG_NOSIGNAL, 0);

		if (n == -EAGAIN && !wait_until(fd, POLLOUT, deadline_ms))
			agent_away("the agent did not read the call in time on ");
		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n <= 0)
			agent_away("the agent broke off on ");
		text += n;
		bytes -= n;
	}
}

static void ask(int fd, int64_t deadline_ms)
{
	put_text(GREETING);
	put_number(variables_bytes);
	put_text(" ");
	put_number(call.config.bytes);
	put_text("\n");
	send_all(fd, out, out_bytes, deadline_ms);
	out_bytes = 0;
	send_all(fd, variables, variables_bytes, deadline_ms);
	send_all(fd, call.config.at, call.config.bytes, deadline_ms);
}

static struct slice read_answer(int fd, int64_t deadline_ms)
{
	size_t bytes = 0;

	for (;;) {
		long n;

		if (!wait_until(fd, POLLIN, deadline_ms))
			agent_away("the agent did not answer in time on ");
		n = CALL(read, fd, answer + bytes, sizeof(answer) - bytes, 0, 0);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			agent_away("the agent broke off on ");
		if (n == 0)
			return (struct slice){ answer, bytes };
		bytes += n;
		if (bytes == sizeof(answer))
			agent_away("the agent answers too much on ");
	}
}

static int64_t take_count(struct cursor *c, char end)
{
	struct slice digits = { c->at, 0 };

	while (c->at < c->end && is_digit(*c->at))
		c->at++;
	digits.bytes = c->at - digits.at;
	if (c->at >= c->end || *c->at++ != end)
		return -1;
	return whole_number(digits);
}

static _Noreturn void tell(struct slice text)
{
	struct cursor c = { text.at, text.at + text.bytes };
	int64_t code, bytes;

	if (text.bytes < strlen(GREETING) || !same((struct slice){ c.at, strlen(GREETING) }, GREETING))
		agent_away("something other than the agent answers on ");
	c.at += strlen(GREETING);
	code = take_count(&c, ' ');
	bytes = take_count(&c, '\n');
	/* An agent that died in the middle of its answer has not said what it did. */
	if (code < 0 || bytes < 0 || bytes != c.end - c.at)
		agent_away("the agent broke off its answer on ");
	if (code == 0)
		succeed();
	if (same(call.command, "DEL")) {
		write_all(2, c.at, bytes);
		leave(0);
	}
	write_all(1, c.at, bytes);
	leave(1);
}

static _Noreturn void tell_version(void)
{
	struct slice given = is_object(call.config) ? plain_string(member(call.config, "cniVersion")) : nothing;

	put_text("{\"cniVersion\":\"");
	put(given.at == NULL || given.bytes > 64 ? slice_of(NEWEST) : given);
	put_text("\",\"supportedVersions\":" SUPPORTED "}\n");
	write_all(1, out, out_bytes);
	leave(0);
}

static bool is_command(struct slice text, const void *command)
{
	return is_version(text, command);
}

_Noreturn void start(long *stack)
{
	int64_t began_ms = now_ms(), deadline_ms;
	int fd;

	/* argc, argv and its NULL come before the environment. */
	read_variables((char **)(stack + stack[0] + 2));
	if (!any_string(slice_of("[\"ADD\",\"DEL\",\"CHECK\",\"GC\",\"STATUS\",\"VERSION\"]"), is_command, &call.command))
		fail(BAD_VARIABLES, "CNI_COMMAND is none of ADD, DEL, CHECK, GC, STATUS and VERSION", nothing);
	call.deadline_ms = DEFAULT_DEADLINE_MS;
	read_stdin(began_ms + DEFAULT_DEADLINE_MS);
	if (same(call.command, "VERSION"))
		tell_version();
	read_config();
	if (same(call.command, "ADD")) {
		struct slice result = member(call.config, "prevResult");

		if (result.at == NULL || *result.at != '{')
			fail(BAD_CONFIG, "there is no prevResult: the plugin stands behind the primary one in a chain", nothing);
	}
	deadline_ms = began_ms + call.deadline_ms;
	fd = connect_agent(deadline_ms);
	ask(fd, deadline_ms);
	tell(read_answer(fd, deadline_ms));
}
