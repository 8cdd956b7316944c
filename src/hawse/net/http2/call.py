"""One call of our HTTP/2 client: what is known of its answer while it comes."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from hawse.net.exchange import Lost
from hawse.net.http2.fields import Fields

_MOST_FIELDS = 256


class Answer(NamedTuple):
    """An answer, whole. Names are lower-case; a field that is there twice is joined by ","."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    trailers: Mapping[str, str]


class Unprocessed(Lost):
    """The server says that it has not looked at the request: sent again, it can't come twice."""


class Call:
    """A request that is under way on a stream. Its connection writes here, whoever made it waits.

    `lost`: it cannot be completed.
    """

    __slots__ = ("_done", "_room", "body", "complete", "headers", "id", "limit", "lost", "owed", "send_window",
                 "status", "touched", "trailers", "window")  # fmt: skip

    def __init__(self, limit: int) -> None:
        """`limit` bounds the answer's body in bytes."""
        self.id = 0
        self.limit = limit
        self.status = 0  # 0 until the head has come
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.body = bytearray()
        self.touched = False  # whether anything of an answer has come
        self.complete = False
        self.lost: Lost | None = None
        self.send_window = 0
        self.window = 0  # bytes that the server may send
        self.owed = 0  # bytes that came, for which it has not been opened again
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = loop.create_future()
        self._room: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self.lost is not None

    async def answer(self) -> Answer:
        """The answer, when it is whole. Raises Lost."""
        await self._done
        if self.lost is not None:
            raise self.lost
        return Answer(self.status, self.headers, bytes(self.body), self.trailers)

    async def room(self) -> None:
        """Wait until more may be sent, or nothing more need be."""
        self._room = asyncio.get_running_loop().create_future()
        await self._room
        self._room = None

    def wake(self) -> None:
        """More may be sent."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def finish(self) -> None:
        """The answer is whole."""
        self.complete = True
        self._end()

    def lose(self, lost: Lost) -> None:
        """It won't become whole."""
        if not self.over:
            self.lost = lost
            self._end()

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        self.wake()

    def fields(self, fields: Fields) -> None:
        """A header block: the head of the answer, or its trailers. Raises ValueError where it is neither."""
        status, found = 0, self.trailers if self.status else self.headers
        if len(fields) > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} header fields")
        plain: dict[str, str] = {}
        for raw, value in fields:
            if raw[:1] == b":":
                if raw != b":status" or self.status or status or not (value.isdigit() and len(value) == 3):
                    raise ValueError(f"the field {raw[:30]!r}: {value[:10]!r}")
                status = int(value)
                continue
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            plain[name] = f"{plain[name]},{text}" if name in plain else text
        if not (status or self.status):
            raise ValueError("no :status")
        if not 100 <= status < 200:  # what comes before the answer says nothing that we use
            self.status = self.status or status
            found.update(plain)
