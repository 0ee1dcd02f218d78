"""gRPC without generated code: messages are bytes.

calls.py serve PORT
calls.py call HOST PORT CHANNELS

A caller does what it reads from its standard input over all its channels at once, and answers with one line of one
word a channel: a digest of all that came, or the status.

    unary N SIZE | down N SIZE | up N SIZE | both N SIZE | fail | deadline | cancel
"""
import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

STEP = 977
PATTERN = bytes((i * 7 + (i >> 8) * 13) & 0xFF for i in range(65_521)) * 4
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def message(size, start):
    return PATTERN[start % 65_521 : start % 65_521 + size]


def down(asked, _):
    count, size, start = map(int, asked.split())
    for i in range(count):
        yield message(size, start + i)


def up(sent, _):
    digest = hashlib.sha256()
    for part in sent:
        digest.update(part)
    return digest.hexdigest().encode()


def both(sent, _):
    yield from sent


def fail(_, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")


def hang(_, context):
    while context.is_active():
        time.sleep(0.05)
    return b""


HANDLERS = {
    "unary": grpc.unary_unary_rpc_method_handler(lambda asked, _: asked),
    "down": grpc.unary_stream_rpc_method_handler(down),
    "up": grpc.stream_unary_rpc_method_handler(up),
    "both": grpc.stream_stream_rpc_method_handler(both),
    "fail": grpc.unary_unary_rpc_method_handler(fail),
    "hang": grpc.unary_unary_rpc_method_handler(hang),
}


def serve(port):
    server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Calls", HANDLERS),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


class Caller:
    def __init__(self, address, index):
        self.channel, self.start = grpc.insecure_channel(address, options=OPTIONS), index * STEP

    def unary(self, count, size):
        call, digest = self.channel.unary_unary("/peer.Calls/unary"), hashlib.sha256()
        for i in range(count):
            digest.update(call(message(size, self.start + i), timeout=30))
        return digest.hexdigest()

    def down(self, count, size):
        digest = hashlib.sha256()
        for part in self.channel.unary_stream("/peer.Calls/down")(b"%d %d %d" % (count, size, self.start), timeout=30):
            digest.update(part)
        return digest.hexdigest()

    def messages(self, count, size):
        return (message(size, self.start + i) for i in range(count))

    def up(self, count, size):
        return self.channel.stream_unary("/peer.Calls/up")(self.messages(count, size), timeout=30).decode()

    def both(self, count, size):
        digest = hashlib.sha256()
        for part in self.channel.stream_stream("/peer.Calls/both")(self.messages(count, size), timeout=30):
            digest.update(part)
        return digest.hexdigest()

    def fail(self, *_):
        return self.channel.unary_unary("/peer.Calls/fail")(b"", timeout=30)

    def deadline(self, *_):
        return self.channel.unary_unary("/peer.Calls/hang")(b"", timeout=0.5)

    def cancel(self, *_):
        future = self.channel.unary_unary("/peer.Calls/hang").future(b"", timeout=30)
        time.sleep(0.2)
        future.cancel()
        return future.code().name


def attempt(caller, what, a, b):
    try:
        return getattr(caller, what)(a, b)
    except grpc.RpcError as error:
        # These two are asked for.
        asked = what in ("fail", "deadline")
        return f"{'' if asked else 'error:'}{error.code().name}:{error.details()}".replace(" ", "-")


def call(host, port, channels):
    callers = [Caller(f"{host}:{port}", index) for index in range(channels)]
    pool = ThreadPoolExecutor(channels)
    while line := sys.stdin.readline().split():
        what, a, b = (line + ["0", "0"])[:3]
        print(*pool.map(lambda caller: attempt(caller, what, int(a), int(b)), callers), flush=True)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    call(sys.argv[2], sys.argv[3], int(sys.argv[4]))
