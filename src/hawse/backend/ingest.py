"""Handlers of what senders post: a Sumo Logic HTTP source, an OTLP source, OTLP/HTTP; faults come first."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from hawse.backend import http_source, otlp_source
from hawse.backend.faults import Faults, ends
from hawse.backend.intake import Intake
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import Busy, Refused
from hawse.net.http import Request, Response
from hawse.wire import field, varint

_OTLP = {f"/v1/{signal}": signal for signal in Signal}
_INVALID_ARGUMENT, _UNAVAILABLE, _UNIMPLEMENTED = 3, 14, 12  # google.rpc.Code


class Ingest:
    """Decides by path and content type what a request is. It counts what it answered."""

    def __init__(self, intake: Intake, faults: Faults) -> None:
        self._intake = intake
        self._faults = faults
        self.requests: dict[tuple[str, int], int] = {}

    async def post(self, request: Request) -> Response:
        """Any POST. The answer is 200 only when everything in the request is committed."""
        signal, answer = self._kind(request)
        drawn = self._faults.draw(request.path, signal)
        response = await answer(request) if not drawn or drawn[-1].keep or not ends(drawn[-1]) else Response(200)
        for fault in drawn:
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if ends(fault):
                self._count(signal, fault.status)
                return await self._faults.answer(fault)
        self._count(signal, response.status)
        return response

    def _count(self, signal: str, status: int) -> None:
        key = (signal, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def _kind(self, request: Request) -> tuple[Signal, Callable[[Request], Awaitable[Response]]]:
        path = request.path.rstrip("/")
        for suffix, signal in _OTLP.items():
            if path.endswith(suffix):
                return signal, partial(self._otlp, signal)
        return (Signal.METRICS if request.content_type in http_source.METRICS else Signal.LOGS), self._http_source

    # --- OTLP ---------------------------------------------------------------------------------------------------

    async def _otlp(self, signal: Signal, request: Request) -> Response:
        content_type = request.content_type
        if content_type not in {otlp_source.PROTOBUF, otlp_source.JSON}:
            wanted = f"send {otlp_source.PROTOBUF} or {otlp_source.JSON}"
            message = f"{content_type or 'no content type'} is not supported here; {wanted}"
            return _status(415, _UNIMPLEMENTED, message, otlp_source.PROTOBUF)
        body, peer = request.body, request.peer
        try:
            rejected = await self._intake.put(
                lambda registry: otlp_source.arrival(signal, content_type, body, peer, registry), len(body)
            )
        except Refused as refused:
            return _status(400, _INVALID_ARGUMENT, refused.reason, content_type)
        except Busy as busy:
            return _status(503, _UNAVAILABLE, busy.reason, content_type, _retry_after(busy))
        return Response(200, _partly(content_type, rejected), content_type=content_type)

    # --- Sumo Logic HTTP source ---------------------------------------------------------------------------------

    async def _http_source(self, request: Request) -> Response:
        content_type, headers, body = request.content_type, request.headers, request.body
        if content_type in {otlp_source.PROTOBUF, "application/protobuf"}:
            return _sumo_error(400, "header:invalid", f"Invalid Content-Type header: {content_type}")
        try:
            rejected = await self._intake.put(
                lambda registry: http_source.arrival(content_type, headers, body, registry), len(body)
            )
        except Refused as refused:
            return _sumo_error(400, "body:invalid", refused.reason)
        except Busy as busy:
            return Response(503, busy.reason + "\n", _retry_after(busy), "text/plain")
        if rejected:  # as the service words a warning: taken, but not all of it
            warning = {"id": "00000-00000-00000", "status": 200, "code": "metrics:dropped", "message": _full(rejected)}
            return Response(200, msgspec.json.encode(warning), content_type="application/json")
        return Response(200)


def _full(rejected: int) -> str:
    return f"{rejected} data points are of new series, and there is no room for more series (--max-series)"


def _partly(content_type: str, rejected: int) -> bytes:
    """An Export…ServiceResponse, which tells how many data points were not taken."""
    if content_type == otlp_source.PROTOBUF:
        return otlp.partial_success(rejected, _full(rejected)) if rejected else b""
    partial = {"rejectedDataPoints": str(rejected), "errorMessage": _full(rejected)}
    return msgspec.json.encode({"partialSuccess": partial} if rejected else {})


def _retry_after(busy: Busy) -> dict[str, str]:
    return {} if busy.retry_after is None else {"retry-after": f"{busy.retry_after:.0f}"}


def _sumo_error(status: int, code: str, message: str) -> Response:
    """As the Sumo Logic service words its errors: an id and a list of codes with messages."""
    body = {"id": "00000-00000-00000", "errors": [{"code": code, "message": message}]}
    return Response(status, msgspec.json.encode(body), content_type="application/json")


def _status(status: int, code: int, message: str, content_type: str, headers: Mapping[str, str] = {}) -> Response:
    """An error as OTLP/HTTP wants it: google.rpc.Status (code = 1, message = 2) in the request's encoding."""
    if content_type == otlp_source.JSON:
        body = msgspec.json.encode({"code": code, "message": message})
    else:
        body = b"\x08" + varint(code) + field(2, message.encode("utf-8", "replace"))
    return Response(status, body, headers, content_type)
