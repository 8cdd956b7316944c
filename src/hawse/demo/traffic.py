"""Requests of customers, each through several of the demo's services: spans of one trace, and log lines that name it.

web (OTLP/gRPC) → geo (Zipkin), and, where somebody orders, → orders (Jaeger) → payments (OTLP/HTTP)
"""

import random
import time
from collections.abc import Callable, Mapping

from hawse.codecs.span_writer import CLIENT, SERVER
from hawse.demo import apps
from hawse.demo.senders import Sender, SenderTally, sender
from hawse.demo.spans import Span
from hawse.demo.workload import Running

_RATE = 4.0  # requests a second, at rate 1
_ORDERS = 0.4  # share of requests that place an order
_DECLINED = 0.15  # share of orders that fail
_MS = 1_000_000  # ns

# Service → container, protocol.
SERVICES = {
    "web": ("nginx", "otlp-grpc"),
    "geo": ("geo", "zipkin"),
    "orders": ("orders", "jaeger-compact"),
    "payments": ("payments", "otlp-http"),
}


class _Service:
    def __init__(self, running: Running, to: Sender) -> None:
        self.running = running
        self.sender = to


class Traffic:
    """Makes requests. `log` writes an event as a container's own."""

    def __init__(
        self,
        running: list[Running],
        ports: Mapping[str, int],
        rng: random.Random,
        log: Callable[[Running, apps.Event], None],
        rate: float = 1.0,
    ) -> None:
        """`ports` by protocol."""
        self._rng = rng
        self._log = log
        self._rate = _RATE * rate
        self._owed = 0.0
        self._services: dict[str, list[_Service]] = {}
        for service, (container, protocol) in SERVICES.items():
            self._services[service] = [
                _Service(one, sender(service, protocol, one.pod, ports[protocol]))
                for one in running
                if one.container.name == container
            ]
        self._senders = [one.sender for some in self._services.values() for one in some]

    @property
    def tallies(self) -> list[SenderTally]:
        """What each sender has sent; they change as it goes on."""
        return [one.tally for one in self._senders]

    def advance(self, seconds: float) -> None:
        """Make the requests of so much time. They have ended when this returns."""
        self._owed += self._rate * seconds
        while self._owed >= 1:
            self._owed -= 1
            self._request()

    async def flush(self) -> None:
        """Have all senders send what they have."""
        for one in self._senders:
            await one.flush()

    async def close(self) -> None:
        """Hang up."""
        for one in self._senders:
            await one.close()

    # --- a request ------------------------------------------------------------------------------------------------

    def _request(self) -> None:
        trace, ordering = self._rng.randbytes(16), self._rng.random() < _ORDERS
        took = round(self._rng.lognormvariate(3.4, 0.6) * 1000) * 1000 + 2 * _MS
        end = time.time_ns() // 1000 * 1000
        start = end - took
        web = self._rng.choice(self._services["web"])
        root, path = self._id(), "/checkout" if ordering else "/products/417"
        self._called(trace, root, web, "geo", "lookup", start + took // 20, took // 5)
        failed = ""
        if ordering:
            failed = self._order(trace, root, web, start + took * 3 // 10, took * 6 // 10)
        status = 502 if failed else 200
        attributes: dict[str, str | int] = {"http.route": path, "http.request.method": "GET"}
        attributes["http.response.status_code"] = status
        self._ended(web, Span(trace, root, b"", f"GET {path}", SERVER, start, end, attributes, failed))

    def _order(self, trace: bytes, parent: bytes, web: _Service, start: int, took: int) -> str:
        failed = "the card was declined" if self._rng.random() < _DECLINED else ""
        caller, callee = self._id(), self._id()
        orders = self._rng.choice(self._services["orders"])
        begin, inner = start + took // 50 // 1000 * 1000, took * 9 // 10 // 1000 * 1000
        self._called(trace, callee, orders, "payments", "authorise", begin + inner // 4, inner // 2, failed)
        value = self._rng.randrange(5, 900)
        span = Span(trace, callee, caller, "place order", SERVER, begin, begin + inner, {"order.value": value}, failed)
        self._ended(orders, span)
        client = Span(
            trace, caller, parent, "POST orders", CLIENT, start, start + took, {"peer.service": "orders"}, failed
        )
        self._ended(web, client, silently=True)
        return failed

    def _called(
        self,
        trace: bytes,
        parent: bytes,
        caller: _Service,
        service: str,
        name: str,
        start: int,
        took: int,
        failed: str = "",
    ) -> None:
        """A call of a service: the caller's span, and in it the service's own."""
        start, took = start // 1000 * 1000, max(4000, took // 1000 * 1000)
        client, server = self._id(), self._id()
        callee = self._rng.choice(self._services[service])
        begin, inner = start + took // 8000 * 1000, took // 4000 * 3000
        self._ended(
            callee, Span(trace, server, client, name, SERVER, begin, begin + inner, {"net.host.name": service}, failed)
        )
        told: dict[str, str | int] = {"peer.service": service}
        span = Span(trace, client, parent, f"POST {service}", CLIENT, start, start + took, told, failed)
        self._ended(caller, span, silently=True)

    def _ended(self, service: _Service, span: Span, *, silently: bool = False) -> None:
        service.sender.add(span)
        if not silently:
            running = service.running
            running.number += 1
            event = self._event(running, span)
            self._log(running, apps.traced(event, span.trace_id.hex(), span.span_id.hex()))

    def _event(self, running: Running, span: Span) -> apps.Event:
        """What the service logs of it: an access log has the path and the status."""
        path, status = span.attributes.get("http.route"), span.attributes.get("http.response.status_code")
        if path is None:
            return running.container.app(self._rng, running.number)
        peer, size = f"10.244.9.{self._rng.randrange(2, 250)}", self._rng.randrange(180, 48_000)
        return apps.access(peer, str(path), int(status or 0), size, running.number)

    def _id(self) -> bytes:
        return self._rng.randbytes(8)
