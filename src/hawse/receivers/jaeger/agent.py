"""Jaeger's agent: batches in datagrams, which nobody answers.

What cannot be handed on at once is kept and tried again, in a bounded queue (`net.udp`); what does not fit is dropped
and counted, in the ledger as spans where they were read, in a metric as datagrams.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.jaeger_thrift import Translator
from hawse.component import Busy, Consumer, Context, Refused
from hawse.net.budget import Budget
from hawse.net.udp import Datagram, UdpConfig, UdpServer
from hawse.turns import Turns, in_turns
from hawse.wire import WireError

_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say
_NOBODY = Resource(b"", {})


class Complain(Protocol):
    """Counts a malformed message of a peer and tells of it now and then."""

    def __call__(self, message: str, peer: str) -> None: ...


class Agent:
    """One of the two ports. `port` is the one bound."""

    def __init__(
        self, name: str, settings: UdpConfig, translator: Translator, context: Context, output: Consumer,
        complain: Complain,
    ) -> None:  # fmt: skip
        """`name` is the protocol's key in the configuration."""
        self._name = name
        self._settings = settings
        self._translator = translator
        self._context = context
        self._output = output
        self._complain = complain
        self._lost = context.meter.counter(
            "hawse_receiver_dropped_datagrams", "Datagrams that could not be kept, by reason and protocol."
        )
        self._server = UdpServer(settings, context.id, context.shared(Budget), self._dropped)
        context.meter.gauge(
            "hawse_receiver_waiting_datagrams", "Datagrams in the queue.", lambda: self._server.waiting, protocol=name
        )
        self._working = 0  # workers that have something in hand
        self._handed_on = asyncio.Event()

    @property
    def port(self) -> int:
        """The port bound."""
        return self._server.port

    async def start(self) -> None:
        """Bind and work. Raises HawseError."""
        await self._server.open(f"protocols.{self._name}")
        wanted = self._settings.socket_buffer_size
        if self._server.buffer_size < wanted:
            self._context.log.warning(
                "%s: the system grants a socket buffer of %d bytes, not %d; raise net.core.rmem_max",
                self._name, self._server.buffer_size, wanted,
            )  # fmt: skip
        if not self._server.overruns_known:
            self._context.log.warning(
                "%s: the system does not tell what it drops, so overruns of the socket's buffer are not counted",
                self._name,
            )
        for number in range(self._settings.workers):
            self._context.spawn(self._work(), f"{self._name} {number}")

    async def stop(self) -> None:
        """Receive no more, and hand on what is here; what is left when that is cancelled is dropped, and counted."""
        self._server.close()
        try:
            while self._working or self._server.waiting:
                self._handed_on.clear()
                await self._handed_on.wait()
        finally:
            left = self._server.abandon()
            self._drop(self._spans(left), "shutdown", len(left))
            self._server.done(left)

    async def _work(self) -> None:
        while taken := await self._server.take():
            self._working += 1
            try:
                await self._hand_on(taken)
            finally:
                self._server.done(taken)
                self._working -= 1
                self._handed_on.set()

    async def _hand_on(self, taken: list[Datagram]) -> None:
        """All that came from one client is one batch."""
        turns = Turns()
        groups: dict[str, list[Group]] = {}
        for datagram in taken:
            try:
                found = await in_turns(self._translator.calls(datagram.data), turns)
            except WireError as error:
                self._complain(f"malformed {self._name} datagram: {error}", datagram.peer)
            else:
                groups.setdefault(datagram.peer, []).extend(found)
        batches = [Batch(Signal.TRACES, found, peer) for peer, found in groups.items()]
        await asyncio.gather(*(self._deliver(batch) for batch in batches if batch.items))

    async def _deliver(self, batch: Batch) -> None:
        try:
            while True:
                try:
                    await self._output.consume(batch)
                except Busy as busy:
                    await asyncio.sleep(_RETRY_AFTER if busy.retry_after is None else busy.retry_after)
                else:
                    return
        except Refused:
            return  # counted and told where it was refused
        except asyncio.CancelledError:
            self._drop(batch.groups, "shutdown", len(batch.groups))
            raise

    def _dropped(self, reason: str, count: int, datagram: Datagram | None) -> None:
        """Called by the server."""
        self._drop(self._spans(() if datagram is None else (datagram,)), reason, count)

    def _spans(self, datagrams: Iterable[Datagram]) -> list[Group]:
        return [Group(_NOBODY, (), self._translator.count(one.data)) for one in datagrams]

    def _drop(self, groups: Iterable[Group], reason: str, datagrams: int) -> None:
        if datagrams:
            self._lost.add(datagrams, reason=reason, protocol=self._name)
        for group in groups:
            self._context.ledger.dropped(group, reason)
