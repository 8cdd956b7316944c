"""What the head of a request says (RFC 9110, RFC 9112), checked as far as llhttp leaves it to its user."""

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote

from hawse.net.budget import RETRY_AFTER, Budget
from hawse.net.compression import ENCODINGS, Malformed, TooLarge, decompressing
from hawse.net.http import MALFORMED, HttpError, Request
from hawse.net.routes import Route, Routes

_NAMES: dict[bytes, str] = {}  # header names as sent → lower-case text; bounded, as a stranger chooses them


class Incoming:
    """A request whose head has been read."""

    __slots__ = ("close", "continue_", "encoding", "held", "http10", "length", "request", "route")

    def __init__(self, request: Request, route: Route) -> None:
        self.request = request
        self.route = route
        self.close = False
        self.http10 = False
        self.continue_ = False
        self.encoding = ""
        self.length: int | None = None  # content-length; None for chunked, 0 for no body
        self.held = 0  # bytes charged to the budget for it


def read_head(
    method: str, version: str, target: bytes, fields: Sequence[tuple[bytes, bytes]], routes: Routes, peer: str
) -> Incoming:
    """A request without its body, and who is to answer it. Raises HttpError with the answer to a wrong one."""
    if version not in {"1.1", "1.0"}:
        raise HttpError(505, f"HTTP/{version} is not spoken here")
    if method == "CONNECT":
        raise HttpError(405, "this is no proxy")
    headers = _headers(fields, version)
    path, query = _target(target)
    request = Request(method, path, raw_query=query, headers=headers, peer=peer)
    chunked = "transfer-encoding" in headers
    incoming = Incoming(request, _route(routes, method, path, bodiless=not chunked and not _length(headers)))
    incoming.http10 = version == "1.0"
    if chunked:
        if headers["transfer-encoding"].strip().lower() != "chunked" or incoming.http10:
            message = "the only transfer-encoding understood is chunked, of HTTP/1.1"
            raise HttpError(501, message, limit=MALFORMED)
        incoming.length = None
    else:
        incoming.length = _length(headers)
    incoming.encoding = _encoding(headers.get("content-encoding", ""))
    expect = headers.get("expect", "").lower()
    if expect == "100-continue":
        incoming.continue_ = not incoming.http10 and incoming.length != 0
    elif expect:
        raise HttpError(417, f"cannot meet Expect: {expect[:100]}")
    return incoming


def _route(routes: Routes, method: str, path: str, *, bodiless: bool) -> Route:
    """Without a body to be read first, a wrong path is no reason to hang up."""
    try:
        return routes.find(method, path)
    except HttpError as error:
        if not bodiless:
            raise
        return routes.fixed(error.response)


def _encoding(header: str) -> str:
    """The encodings to be undone, in the order in which they were applied."""
    if not header:
        return ""
    names = [name.strip().lower() for name in header.split(",") if name.strip()]
    for name in names:
        if name not in {*ENCODINGS, "x-gzip"}:
            offer = ", ".join(ENCODINGS)
            message = f"content-encoding {name[:50]!r} is not understood; send one of {offer}"
            raise HttpError(415, message, {"accept-encoding": offer})
    if len(names) > 2:
        raise HttpError(415, "more than two content-encodings on top of each other")
    return ",".join(name for name in names if name != "identity")


def _headers(fields: Sequence[tuple[bytes, bytes]], version: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    hosts = 0
    for raw, value in fields:
        name = _NAMES.get(raw) or _name(raw)
        text = value.decode("latin-1")
        if name == "host":
            hosts += 1
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise HttpError(400, "a request needs exactly one Host header", limit=MALFORMED)
    return headers


def _length(headers: dict[str, str]) -> int:
    return int(headers.get("content-length") or 0)  # digits: llhttp has seen to it


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1").lower()
    if len(_NAMES) < 1024 and len(raw) < 64:
        _NAMES[raw] = name
    return name


def _target(url: bytes) -> tuple[str, str]:
    """Path and query of a request target: `/path?query`, `http://host/path?query` or `*`."""
    try:
        text = url.decode("ascii")
    except UnicodeDecodeError:
        message = "the request target has bytes outside ASCII; percent-encode them"
        raise HttpError(400, message, limit=MALFORMED) from None
    if not text.startswith("/"):
        _, scheme, rest = text.partition("://")
        slash = rest.find("/")
        text = "/" + rest[slash + 1 :] if scheme and slash >= 0 else "/" if scheme else text
    path, _, query = text.partition("?")
    return unquote(path) if "%" in path else path, query.partition("#")[0]


def no_room() -> HttpError:
    """The answer where the memory budget is used up."""
    message = "as much is in flight as memory allows; send it again later"
    return HttpError(429, message, {"retry-after": str(RETRY_AFTER)}, limit="memory_limit")


async def decoded(incoming: Incoming, budget: Budget) -> Request:
    """The request with its body decompressed, and charged for what comes out. Raises HttpError 400, 413 or 429.

    Others get their turn between two steps: a bomb costs them a millisecond each, not its whole explosion.
    """
    request = incoming.request
    if not incoming.encoding or not request.body:
        return request
    settings = incoming.route.mount.settings
    before = incoming.held - len(request.body)
    steps = decompressing(
        request.body, incoming.encoding, settings.max_request_body_size, settings.max_decompression_ratio
    )
    try:
        size = next(steps)
        while True:
            if not budget.acquire(size, incoming.held):
                raise no_room()
            incoming.held += size
            size = steps.send(None)
            await asyncio.sleep(0)
    except StopIteration as done:
        request.body = done.value
    except TooLarge as error:
        raise HttpError(413, error.message, limit=error.limit) from None
    except Malformed as error:
        raise HttpError(400, str(error)) from None
    budget.release(incoming.held - before - len(request.body))
    incoming.held = before + len(request.body)
    return request
