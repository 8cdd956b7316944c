"""What a server answers to our client: a whole answer, or a reason why there is none."""

from collections.abc import Iterator
from typing import Any

from fuzz.targets import Target, table
from hawse.net.exchange import ClientConnection, Exchange

_LIMIT = 100_000
_SCRATCH = memoryview(bytearray(65_536))


class _Transport:
    closed = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def _run(data: bytes) -> None:
    if len(data) < 2:
        return
    flags, step = data[0], 1 + data[1] * 4
    transport: Any = _Transport()
    connection = ClientConnection(_SCRATCH)
    connection.connection_made(transport)
    at = 2
    while at < len(data) and not transport.closed:
        exchange = Exchange(head_only=bool(flags & 1), streams=bool(flags & 2), limit=_LIMIT)
        sending = connection.send(exchange, b"POST / HTTP/1.1\r\n\r\n", (), 0)
        try:
            sending.send(None)
        except StopIteration:
            pass
        while at < len(data) and not exchange.over and not transport.closed:
            piece = data[at : at + step]
            buffer = connection.get_buffer(-1)
            buffer[: len(piece)] = piece
            connection.buffer_updated(len(piece))
            at += len(piece)
            if flags & 1 and exchange.status:  # as HttpClient: an answer to HEAD may have no end that shows
                break
        if exchange.error is not None:
            assert exchange.error.reason
            assert transport.closed
        elif exchange.complete:
            assert 100 <= exchange.status <= 999, exchange.status
            assert flags & 2 or exchange.size <= _LIMIT
        if not connection.usable:
            break
    if not transport.closed:
        connection.eof_received()
        connection.connection_lost(None)


def _seeds() -> Iterator[bytes]:
    good = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello"
    chunked = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n"
    rest = b"HTTP/1.0 500 Oops\r\n\r\nuntil the end"
    early = b"HTTP/1.1 100 Continue\r\n\r\n" + good
    for flags in range(4):
        for text in (good + chunked, chunked + good, rest, early, b"HTTP/1.1 204 No Content\r\n\r\n" + good):
            yield bytes((flags, 255)) + text
            yield bytes((flags, 0)) + text


_WORDS = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/2 200\r\n", b"\r\n\r\n", b"\n\n",
    b"content-length: 0\r\n", b"content-length: 99999999999999999999\r\n", b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n",
    b"connection: close\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"7fffffff\r\n", b"5;x=y\r\n", b": ", b"\0",
]  # fmt: skip

TARGETS = table(Target("http_client", _run, _seeds, _WORDS, 2048))
