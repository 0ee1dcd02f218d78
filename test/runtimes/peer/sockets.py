"""The peer of stream.ts over the socket module, a thread a connection: sockets that block, or wait with a time-out.

sockets.py serve PORT SECONDS | call HOST PORT CONNECTIONS SECONDS; 0 seconds: no time-out, the socket itself blocks.
"""
import hashlib
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pattern import CHUNK, SLOW_BYTES, SLOW_PAUSE_S, STEP, pattern


class Stream:
    def __init__(self, connection, timeout):
        connection.settimeout(timeout or None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.rest = connection, b""

    def some(self, most=CHUNK):
        part, self.rest = self.rest[:most], self.rest[most:]
        return part or self.connection.recv(most)

    def exactly(self, count):
        while count > 0:
            part = self.some(min(count, CHUNK))
            if not part:
                raise EOFError("early-end")
            count -= len(part)
            yield part

    def line(self):
        while b"\n" not in self.rest:
            part = self.connection.recv(4096)
            if not part:
                return ""
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def send(self, data):
        self.connection.sendall(data)


def answer(stream):
    while line := stream.line().split():
        what, count = line[0], int(line[1]) if len(line) > 1 else 0
        if what == "echo":
            for part in stream.exactly(count):
                stream.send(part)
        elif what == "give":
            for part in pattern(count, int(line[2])):
                stream.send(part)
        elif what == "take":
            digest = hashlib.sha256()
            for part in stream.exactly(count):
                digest.update(part)
            stream.send(digest.hexdigest().encode() + b"\n")
        elif what == "copy":
            while part := stream.some():
                stream.send(part)
            stream.connection.shutdown(socket.SHUT_WR)
            return


def serve(connection, timeout):
    with connection:
        try:
            answer(Stream(connection, timeout))
        except (EOFError, OSError):
            pass


class Caller:
    def __init__(self, connection, timeout, index):
        self.stream, self.start = Stream(connection, timeout), index * STEP

    def requests(self, count, size):
        digest = hashlib.sha256()
        for i in range(count):
            self.stream.send(b"echo %d\n" % size + b"".join(pattern(size, self.start + i)))
            for part in self.stream.exactly(size):
                digest.update(part)
        return digest.hexdigest()

    def give(self, count, _, slow=False):
        digest, since = hashlib.sha256(), 0
        self.stream.send(b"give %d %d\n" % (count, self.start))
        for part in self.stream.exactly(count):
            digest.update(part)
            since += len(part)
            if slow and since >= SLOW_BYTES:
                since = 0
                time.sleep(SLOW_PAUSE_S)
        return digest.hexdigest()

    def slow(self, count, _):
        return self.give(count, 0, slow=True)

    def take(self, count, _):
        self.stream.send(b"take %d\n" % count)
        for part in pattern(count, self.start):
            self.stream.send(part)
        return self.stream.line() or "early-end"

    def half(self, count, _):
        def sending():
            self.stream.send(b"copy\n")
            for part in pattern(count, self.start):
                self.stream.send(part)
            self.stream.connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=sending)
        thread.start()
        digest, came = hashlib.sha256(), 0
        while part := self.stream.some():
            digest.update(part)
            came += len(part)
        thread.join()
        return f"{came}:{digest.hexdigest()}"

    def close(self, *_):
        self.stream.connection.close()
        return "closed"


def attempt(caller, what, a, b):
    try:
        return getattr(caller, what)(a, b)
    except (EOFError, OSError) as error:
        return f"error:{error}".replace(" ", "-")


def call(host, port, connections, timeout):
    pool, callers = ThreadPoolExecutor(connections), []
    while line := sys.stdin.readline().split():
        what, a, b = (line + ["0", "0"])[:3]
        if what == "open":
            ends = [socket.create_connection((host, port), timeout=5) for _ in range(connections)]
            callers = [Caller(end, timeout, index) for index, end in enumerate(ends)]
            print("opened", flush=True)
            continue
        print(*pool.map(lambda caller: attempt(caller, what, int(a), int(b)), callers), flush=True)


def main(mode, *words):
    if mode == "call":
        call(words[0], int(words[1]), int(words[2]), float(words[3]))
        return
    with socket.create_server(("0.0.0.0", int(words[0])), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, float(words[1])), daemon=True).start()


main(*sys.argv[1:])
