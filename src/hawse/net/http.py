"""What an HTTP handler is given and what it answers, apart from sockets.

`Request` and `Response` are plain values: a test calls a handler with a `Request` and looks at the `Response`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import parse_qs

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Request:
    """A request, whole: its body has arrived and is decompressed.

    `path` is percent-decoded and without the query. `headers` has lower-case names; fields sent several times are
    joined by ", ". `peer` is the address of the client's end of the connection, without port.
    """

    __slots__ = ("_query", "body", "headers", "method", "path", "peer", "raw_query")

    def __init__(
        self,
        method: str,
        path: str,
        *,
        raw_query: str = "",
        headers: Mapping[str, str] = _NOTHING,
        body: bytes = b"",
        peer: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.raw_query = raw_query
        self.headers = headers
        self.body = body
        self.peer = peer
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, percent-decoded; a parameter without a value is "". Parsed on first read."""
        if self._query is None:
            self._query = parse_qs(self.raw_query, keep_blank_values=True) if self.raw_query else {}
        return self._query

    @property
    def content_type(self) -> str:
        """The media type of the body, lower-case, without parameters; "" where none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path}, {len(self.body)} bytes)"


class Response:
    """An answer whose body is at hand. Text is sent as UTF-8. `content-length` is added when it is sent."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes | str = b"",
        headers: Mapping[str, str] = _NOTHING,
        content_type: str = "",
    ) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = headers
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


class StreamResponse(Response):
    """An answer whose body comes piece by piece, in chunked encoding.

    Each piece is sent when `pieces` yields it, no faster than the client takes it. When the client goes away or the
    server closes, the iterator is closed (its `finally` runs).
    """

    __slots__ = ("pieces",)

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        status: int = 200,
        headers: Mapping[str, str] = _NOTHING,
        content_type: str = "",
    ) -> None:
        super().__init__(status, b"", headers, content_type)
        self.pieces = pieces


class HttpError(Exception):
    """Raised by a handler, or by the server itself, to answer with a status and one sentence of plain text.

    `limit` is the setting that was exceeded ("malformed" for what is no HTTP): it is named in the sentence's end, and
    such answers are counted by it.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] = _NOTHING, limit: str = "") -> None:
        self.message = f"{message} ({limit})" if limit and limit != MALFORMED else message
        super().__init__(self.message)
        self.limit = limit
        self.response = Response(status, self.message + "\n", headers, "text/plain; charset=utf-8")


MALFORMED = "malformed"
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
# Of a gRPC method with any number of messages in and out (route method "GRPC-STREAM").
StreamHandler: TypeAlias = Callable[[Request, AsyncIterator[bytes]], AsyncIterator[bytes]]
AnyHandler: TypeAlias = Handler | StreamHandler
# How an owner of routes words the server's own refusals: its protocol may have a form for errors.
Explain: TypeAlias = Callable[[Request, HttpError], Response]


def reason(status: int) -> str:
    """The reason phrase of a status, "" for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
