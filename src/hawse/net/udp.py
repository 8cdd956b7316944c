"""Datagrams: received into a bounded queue, and counted where they are lost, by the system as well.

Nobody is told that a datagram was not taken, so what can't be is counted: where the queue or the process's memory is
full, where a datagram is too large, and where the system had no room left in the socket's buffer (Linux tells by
SO_MEMINFO). Reading is done in short strokes, so that a flood takes no more than a share of the event loop: while the
queue is full, datagrams are read (and counted) slowly, and most of a flood ends in the socket's buffer, for nothing.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

from msgspec import Meta

from hawse.component import Problem, Section
from hawse.net.budget import Budget
from hawse.net.listener import bind
from hawse.net.settings import split_endpoint
from hawse.values import ByteSize

_STROKE = 64  # datagrams that are read at once
_PAUSE = 0.02  # seconds between two strokes while the queue is full
_LOOK = 1.0  # seconds between two looks at what the system has dropped
_OVERHEAD = 200  # bytes that a datagram takes beside its own
_SO_MEMINFO = 55  # asm-generic/socket.h; nine numbers of 32 bits, the last of which is sk_drops
_meminfo = struct.Struct("9I")

QUEUE_FULL, MEMORY, TOO_LARGE, SYSTEM = "queue_full", "memory_limit", "max_packet_size", "socket_buffer"


class UdpConfig(Section, frozen=True):
    """Where datagrams are received, with the keys of OpenTelemetry's jaeger receiver."""

    endpoint: str
    queue_size: Annotated[int, Meta(ge=1, description="Datagrams that wait at most; those above are dropped.")] = 1000
    max_packet_size: Annotated[ByteSize, Meta(description="Largest datagram; larger ones are dropped.")] = ByteSize(
        65_000
    )
    workers: Annotated[int, Meta(ge=1, description="How many batches may be on their way at the same time.")] = 10
    socket_buffer_size: Annotated[
        ByteSize, Meta(description="Bytes that the system may hold for us (SO_RCVBUF). 0 leaves it to the system.")
    ] = ByteSize(0)

    def problems(self) -> Iterator[Problem]:
        try:
            split_endpoint(self.endpoint)
        except ValueError as error:
            yield Problem("endpoint", str(error), 'write "host:port", such as "0.0.0.0:6831"')
        if not self.max_packet_size:
            yield Problem("max_packet_size", "a datagram has a byte at least", "leave the key out for 65000")


class Datagram(NamedTuple):
    """What one client sent at once, and its address without port."""

    data: bytes
    peer: str


Dropped = Callable[[str, int, Datagram | None], None]


class UdpServer:
    """The sockets of an endpoint and what they have received. `port` is the one bound."""

    def __init__(self, settings: UdpConfig, owner: str, budget: Budget, dropped: Dropped) -> None:
        """`dropped` is told why and how many, and the datagram where it was read."""
        self._settings = settings
        self._owner = owner
        self._budget = budget
        self._dropped = dropped
        self._queue: deque[Datagram] = deque()
        self._filled = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._lost: dict[int, int] = {}  # by socket: what the system has dropped, as far as we have told
        self._scratch = bytearray(settings.max_packet_size + 1)
        self._view = memoryview(self._scratch)
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False
        self.port = 0
        self.overruns_known = True

    async def open(self, path: str) -> None:
        """Bind and receive. Raises HawseError, placed at `path`."""
        loop = asyncio.get_running_loop()
        self._sockets = bind(self._settings.endpoint, self._owner, path, socket.SOCK_DGRAM)
        self.port = self._sockets[0].getsockname()[1]
        for one in self._sockets:
            if self._settings.socket_buffer_size:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.socket_buffer_size)
            self._lost[one.fileno()] = 0
            loop.add_reader(one.fileno(), self._read, one)
        self._look()

    @property
    def buffer_size(self) -> int:
        """What the system granted of `socket_buffer_size`: net.core.rmem_max bounds it, and Linux doubles it."""
        return self._sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    @property
    def waiting(self) -> int:
        """Datagrams in the queue."""
        return len(self._queue)

    async def take(self, most: int = _STROKE, most_bytes: int = 256 << 10) -> list[Datagram]:
        """The next datagrams, as soon as there are any; [] when the server is closed and nothing is left.

        They stay charged to the budget until they are given to `done`.
        """
        while not self._queue:
            if self._closed:
                return []
            self._filled.clear()
            await self._filled.wait()
        taken: list[Datagram] = []
        size = 0
        while self._queue and len(taken) < most and size < most_bytes:
            taken.append(self._queue.popleft())
            size += len(taken[-1].data)
        if self._queue:
            return taken
        self._filled.clear()
        if self._closed:
            self._filled.set()
        return taken

    def done(self, taken: list[Datagram]) -> None:
        """What `take` gave is delivered, refused or dropped."""
        self._budget.release(sum(len(one.data) for one in taken) + _OVERHEAD * len(taken))

    def close(self) -> None:
        """Receive no more, but what is in the sockets' buffers; `take` gives what is left."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.remove_reader(one.fileno())
            self._receive(one, self._settings.queue_size + _STROKE)
        self._look()
        if self._looking is not None:
            self._looking.cancel()
        for one in self._sockets:
            one.close()
        self._closed = True
        self._filled.set()

    def abandon(self) -> list[Datagram]:
        """Empty the queue: what is in it will not be handled. The caller gives it to `done`."""
        left = list(self._queue)
        self._queue.clear()
        return left

    def _read(self, one: socket.socket) -> None:
        self._receive(one, _STROKE)
        if len(self._queue) >= self._settings.queue_size or self._budget.over:
            loop = asyncio.get_running_loop()
            loop.remove_reader(one.fileno())
            loop.call_later(_PAUSE, self._resume, one)

    def _resume(self, one: socket.socket) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(one.fileno(), self._read, one)

    def _receive(self, one: socket.socket, most: int) -> None:
        largest, queue, view, room = self._settings.max_packet_size, self._queue, self._view, self._settings.queue_size
        for _ in range(most):
            try:
                size, address = one.recvfrom_into(view)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an ICMP error of what was sent from this socket; nothing is
                continue
            if size > largest:
                self._dropped(TOO_LARGE, 1, None)
                continue
            datagram = Datagram(bytes(view[:size]), address[0].removeprefix("::ffff:"))
            if len(queue) >= room:
                self._dropped(QUEUE_FULL, 1, datagram)
            elif not self._budget.acquire(size + _OVERHEAD):
                self._dropped(MEMORY, 1, datagram)
            else:
                queue.append(datagram)
        if queue:
            self._filled.set()

    def _look(self) -> None:
        """Tell what the system has dropped since the last time."""
        for one in self._sockets:
            try:
                found = one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _meminfo.size)
                drops = _meminfo.unpack(found)[8]
            except (OSError, struct.error):
                self.overruns_known = False
                return
            new = (drops - self._lost[one.fileno()]) & 0xFFFF_FFFF
            self._lost[one.fileno()] = drops
            if new:
                self._dropped(SYSTEM, new, None)
        self._looking = asyncio.get_running_loop().call_later(_LOOK, self._look)
