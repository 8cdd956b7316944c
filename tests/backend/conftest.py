import asyncio
import http.client
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.wire import encode_attributes, encode_value, field, varint


class Reply:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
    query: Any = None,
    timeout: float = 20,
) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        asked = urlencode(query, doseq=True) if query else parts.query
        connection.request(method, parts.path + (f"?{asked}" if asked else ""), body, dict(headers))
        got = connection.getresponse()
        return Reply(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
    finally:
        connection.close()


def otlp_record(
    body: Any = "",
    time: int = 0,
    observed: int = 0,
    severity: int = 0,
    severity_text: str = "",
    attributes: Mapping[str, Any] = {},
    trace_id: bytes = b"",
    raw_body: bytes | None = None,
) -> bytes:
    value = field(1, raw_body) if raw_body is not None else encode_value(body)
    return field(
        2,
        b"".join(
            (
                b"\x09" + struct.pack("<Q", time) if time else b"",
                b"\x10" + varint(severity) if severity else b"",
                field(3, severity_text.encode()) if severity_text else b"",
                field(5, value),
                encode_attributes(attributes, 6),
                field(9, trace_id) if trace_id else b"",
                b"\x59" + struct.pack("<Q", observed) if observed else b"",
            )
        ),
    )


def otlp_logs(resource: Mapping[str, Any], records: list[bytes]) -> bytes:
    group = Group(Resource.of(resource), (field(2, b"".join(records)),), len(records))
    return Batch(Signal.LOGS, [group]).encode()


@pytest.fixture
def call() -> Callable[..., Any]:
    """An HTTP request over a real socket, from a thread, so that the backend can run in the test's loop."""

    async def calling(*arguments: Any, **named: Any) -> Reply:
        return await asyncio.to_thread(request, *arguments, **named)

    return calling


@pytest.fixture
def send(call: Any) -> Callable[..., Any]:
    """Send OTLP log records of one resource to a backend; the reply must be 200."""

    async def sending(url: str, resource: Mapping[str, Any], records: list[bytes]) -> None:
        reply = await call(
            "POST", url + "/v1/logs", otlp_logs(resource, records), {"content-type": "application/x-protobuf"}
        )
        assert (reply.status, reply.body) == (200, b"")

    return sending


@pytest.fixture
def record() -> Callable[..., bytes]:
    return otlp_record
