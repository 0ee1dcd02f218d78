"""The peer of stream.ts over asyncio's streams: the same lines, answers and digests."""
import asyncio
import hashlib
import sys

from pattern import CHUNK, SLOW_BYTES, SLOW_PAUSE_S, STEP, pattern


async def exactly(reader, count):
    while count > 0:
        part = await reader.read(min(count, CHUNK))
        if not part:
            raise EOFError("early-end")
        count -= len(part)
        yield part


async def send(writer, data):
    writer.write(data)
    await writer.drain()


async def answer(reader, writer):
    while line := (await reader.readline()).decode().split():
        what, count = line[0], int(line[1]) if len(line) > 1 else 0
        if what == "echo":
            async for part in exactly(reader, count):
                await send(writer, part)
        elif what == "give":
            for part in pattern(count, int(line[2])):
                await send(writer, part)
        elif what == "take":
            digest = hashlib.sha256()
            async for part in exactly(reader, count):
                digest.update(part)
            await send(writer, digest.hexdigest().encode() + b"\n")
        elif what == "copy":
            while part := await reader.read(CHUNK):
                await send(writer, part)
            writer.write_eof()
            return


async def serve(reader, writer):
    try:
        await answer(reader, writer)
        writer.close()
    except (EOFError, OSError):
        writer.transport.abort()


class Caller:
    def __init__(self, reader, writer, index):
        self.reader, self.writer, self.start = reader, writer, index * STEP

    async def requests(self, count, size):
        digest = hashlib.sha256()
        for i in range(count):
            await send(self.writer, b"echo %d\n" % size + b"".join(pattern(size, self.start + i)))
            async for part in exactly(self.reader, size):
                digest.update(part)
        return digest.hexdigest()

    async def give(self, count, _, slow=False):
        digest, since = hashlib.sha256(), 0
        await send(self.writer, b"give %d %d\n" % (count, self.start))
        async for part in exactly(self.reader, count):
            digest.update(part)
            since += len(part)
            if slow and since >= SLOW_BYTES:
                since = 0
                await asyncio.sleep(SLOW_PAUSE_S)
        return digest.hexdigest()

    async def slow(self, count, _):
        return await self.give(count, 0, slow=True)

    async def take(self, count, _):
        await send(self.writer, b"take %d\n" % count)
        for part in pattern(count, self.start):
            await send(self.writer, part)
        return (await self.reader.readline()).decode().strip() or "early-end"

    async def half(self, count, _):
        async def sending():
            await send(self.writer, b"copy\n")
            for part in pattern(count, self.start):
                await send(self.writer, part)
            self.writer.write_eof()

        async def receiving():
            digest, came = hashlib.sha256(), 0
            while part := await self.reader.read(CHUNK):
                digest.update(part)
                came += len(part)
            return f"{came}:{digest.hexdigest()}"

        _, told = await asyncio.gather(sending(), receiving())
        return told

    async def close(self, *_):
        self.writer.close()
        return "closed"


async def attempt(coroutine):
    try:
        return await coroutine
    except (EOFError, OSError) as error:
        return f"error:{error}".replace(" ", "-")


async def call(host, port, connections):
    callers = []
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        what, a, b = (line + ["0", "0"])[:3]
        if what == "open":
            ends = await asyncio.gather(*(asyncio.open_connection(host, port) for _ in range(connections)))
            callers = [Caller(*end, index) for index, end in enumerate(ends)]
            print("opened", flush=True)
            continue
        told = await asyncio.gather(*(attempt(getattr(caller, what)(int(a), int(b))) for caller in callers))
        print(*told, flush=True)


async def main(mode, *words):
    if mode == "serve":
        server = await asyncio.start_server(serve, "0.0.0.0", int(words[0]))
        await server.serve_forever()
    else:
        await call(words[0], int(words[1]), int(words[2]))


asyncio.run(main(*sys.argv[1:]))
