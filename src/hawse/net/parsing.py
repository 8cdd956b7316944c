"""HTTP/1.1 requests from bytes, within limits (RFC 9112), on llhttp's strict mode.

llhttp refuses what request smuggling lives on: content-length beside transfer-encoding, two content-lengths, bare
line feeds, malformed chunks. What it leaves to its user is checked here and in `head`.
"""

import io
from typing import Protocol

import httptools

from hawse.net.budget import Budget
from hawse.net.head import Incoming, no_room, read_head
from hawse.net.http import MALFORMED, HttpError
from hawse.net.routes import Routes
from hawse.net.settings import ServerConfig

_DIRECT = 64 << 10  # what comes of a body of known size after this is received in place, without passing the parser
_REQUEST = 1 << 10  # bytes that our own objects take for a request
_SMALL_HEAD = 8 << 10
# Bytes around a chunk and a head that the parser doesn't show, at most: what has come before a head in the same receive
# must not be taken for a part of it.
_CHUNK_FRAME, _HEAD_FRAME = 12, 32
_CHUNKS, _CHUNK = 4096, 4  # each chunk costs us a call, and its sender a few bytes


class Sink(Protocol):
    """Whom a RequestReader tells."""

    def head(self, incoming: Incoming) -> None:
        """A head has come, and a body is to follow."""

    def request(self, incoming: Incoming) -> None:
        """A request is whole."""

    def refuse(self, error: HttpError) -> None:
        """A request cannot be taken. What follows it is thrown away: where the next one begins is not known."""


class RequestReader:
    """Turns one connection's bytes into requests.

    `buffer()` gives the memory to receive into, `received(n)` says how much arrived; the sink is told, in order.
    """

    def __init__(
        self,
        settings: ServerConfig,
        routes: Routes,
        scratch: memoryview,
        peer: str,
        sink: Sink,
        budget: Budget | None = None,
    ) -> None:
        self._budget = budget or Budget()
        self._settings = settings
        self._routes = routes
        self._scratch = scratch
        self._peer = peer
        self._sink = sink
        self.failed = False
        self.in_head = False
        self.in_body = False
        self._primed = False
        self._head_bytes = 0  # of the fields that are whole
        self._open = 0  # bytes of a head that has not come whole, beyond these
        self._known = 0  # bytes of what has just come that belong to whole fields and bodies
        self._head_held = 0  # bytes charged for a head that comes in pieces
        self._quiet = 0  # bytes since the last piece of a body
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._chunks = 0
        self._limit = 0
        self._incoming: Incoming | None = None
        self._store: io.BytesIO | None = None  # a large body of known size, received in place
        self._view: memoryview | None = None
        self._parser = httptools.HttpRequestParser(self)

    @property
    def idle(self) -> bool:
        """Whether we are between two requests."""
        return not (self.in_head or self.in_body)

    def buffer(self) -> memoryview:
        """Where the next bytes go."""
        if self._view is not None and not self.failed:
            return self._view[self._size :]
        return self._scratch

    def received(self, count: int) -> None:
        """Take `count` bytes, which are in `buffer()`."""
        if self.failed:
            return
        if self._view is not None:
            self._size += count
            if self._size == len(self._view):
                try:
                    self._filled()
                except HttpError as error:
                    self._fail(error)
            return
        self._known = 0
        self._quiet += count
        self._feed(self._scratch[:count])
        self._check_framing()
        if self.in_head and not self.failed:
            self._open = max(0, self._open + count - self._known)
            try:
                self._check_head()
                self._charge_head()
            except HttpError as error:
                self._fail(error)

    def close(self) -> None:
        """The client has gone: give back what its unfinished request was charged."""
        self._give_back()
        self._drop_body()

    def _drop_body(self) -> None:
        # A BytesIO that is collected together with a view of it complains (Python 3.13): first the view.
        if self._view is not None:
            self._view.release()
        self._store = self._view = None

    @property
    def body_bytes(self) -> int:
        """How much of the body has come."""
        return self._size

    def _feed(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._ignore_upgrade(data[pause.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, HttpError) else _malformed(error))
        except httptools.HttpParserError as error:
            self._fail(_malformed(error))

    def _fail(self, error: HttpError) -> None:
        incoming = self._incoming
        if incoming is not None and (explain := incoming.route.mount.explain):
            error.response = explain(incoming.request, error)
        self._give_back()
        self.failed = True
        self.in_head = self.in_body = False
        self._pieces = []
        self._drop_body()
        self._sink.refuse(error)

    # --- llhttp's callbacks -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.in_head = True
        if not self._primed:
            self._url = b""
            self._fields = []
            self._head_bytes = self._open = 0

    def on_url(self, url: bytes) -> None:
        if not self._primed:
            self._url += url
            self._head_bytes += len(url)
            self._known += len(url)
            if len(self._url) > self._settings.max_url_bytes:
                message = f"the path with its query has more than {self._settings.max_url_bytes} bytes"
                raise HttpError(414, message, limit="max_url_bytes")
            self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._primed:
            return
        self._fields.append((name, value))
        size = len(name) + len(value) + 4
        self._head_bytes += size
        self._known += size
        self._check_head()
        if len(self._fields) > self._settings.max_header_count:
            message = f"more than {self._settings.max_header_count} header fields"
            raise HttpError(431, message, limit="max_header_count")

    def _check_framing(self) -> None:
        """Trailers and chunk extensions have no end of their own, and the parser keeps a field until it is whole."""
        if self._quiet > self._settings.max_header_bytes and self.in_body and not self.failed and self._view is None:
            message = f"more than {self._settings.max_header_bytes} bytes of chunk extensions or trailers"
            self._fail(HttpError(431, message, limit="max_header_bytes"))

    def _check_head(self) -> None:
        limit = self._settings.max_header_bytes
        if self._head_bytes + self._open > limit:
            raise HttpError(431, f"the header has more than {limit} bytes", limit="max_header_bytes")

    def on_headers_complete(self) -> None:
        if self._primed:
            return
        self.in_head = False
        self.in_body = True
        self._known += _HEAD_FRAME
        self._quiet = 0
        self._pieces = []
        self._size = self._chunks = 0
        incoming = self._incoming = read_head(
            self._parser.get_method().decode("ascii"),
            self._parser.get_http_version(),
            self._url,
            self._fields,
            self._routes,
            self._peer,
        )
        incoming.close = not self._parser.should_keep_alive()
        self._budget.release(self._head_held)
        self._head_held = 0
        incoming.held = self._head_bytes + _REQUEST
        self._budget.charge(incoming.held)
        self._limit = incoming.route.mount.settings.max_request_body_size
        length = incoming.length
        if length is not None and length > self._limit:
            raise _too_large(f"the body has {length} bytes, {self._limit} are allowed")
        if length != 0:
            if self._budget.used >= self._budget.limit:
                raise no_room()  # before a byte of the body is sent, where the client asks
            # BytesIO hands out the very bytes object that was received into, without a copy. Chunks are gathered in
            # one, too: a list of them would take many times the body's size if a stranger made them small.
            if length is None or length > _DIRECT:
                self._store = io.BytesIO()
            self._sink.head(incoming)

    def on_chunk_header(self) -> None:
        self._chunks += 1
        self._known += _CHUNK_FRAME
        if self._chunks > _CHUNKS and self._size < _CHUNK * self._chunks:
            raise _malformed(f"more than {_CHUNKS} chunks of fewer than {_CHUNK} bytes each, all in all")

    def on_body(self, piece: bytes) -> None:
        self._quiet = 0
        self._known += len(piece)
        size = self._size + len(piece)
        if size > self._limit:
            raise _too_large(f"the body has more than {self._limit} bytes")
        self._charge(len(piece))
        if self._store is not None:
            self._store.write(piece)
            self._size = size
            length = self._incoming.length if self._incoming is not None else None
            if length is not None and size != length and size > _DIRECT:
                self._widen(length)
        else:
            self._pieces.append(piece)
            self._size = size

    def _charge(self, size: int) -> None:
        incoming = self._incoming
        assert incoming is not None
        if not self._budget.acquire(size, incoming.held):
            raise no_room()
        incoming.held += size

    def _charge_head(self) -> None:
        """A head that comes in pieces is kept. A small one always fits: health and metrics must be had at all times."""
        whole = self._head_bytes + self._open
        size = max(0, whole - self._head_held)
        if whole <= _SMALL_HEAD:
            self._budget.charge(size)
        elif not self._budget.acquire(size):
            raise no_room()
        self._head_held += size

    def _give_back(self) -> None:
        if self._incoming is not None:
            self._budget.release(self._incoming.held)
            self._incoming.held = 0
        self._budget.release(self._head_held)
        self._head_held = 0
        self._incoming = None

    def _widen(self, length: int) -> None:
        """Receive the next part in place. The room grows with what has come: announcing a body costs us nothing."""
        capacity = min(length, 2 * self._size)
        self._charge(capacity - self._size)
        wider = io.BytesIO(bytes(capacity))
        view = wider.getbuffer()
        if self._view is not None:
            view[: self._size] = self._view[: self._size]
            self._view.release()
        elif self._store is not None:
            view[: self._size] = self._store.getvalue()
        self._store, self._view = wider, view

    def _filled(self) -> None:
        incoming = self._incoming
        assert incoming is not None
        assert incoming.length is not None
        if self._size < incoming.length:
            self._widen(incoming.length)
            return
        self._parser = httptools.HttpRequestParser(self)  # the old one still waits for this body
        self.on_message_complete()

    def on_message_complete(self) -> None:
        incoming = self._incoming
        if incoming is None or (self._parser.should_upgrade() and not self._primed):
            return  # llhttp believes that there is no body; _ignore_upgrade goes on
        if self._store is not None:
            if self._view is not None:
                self._view.release()
            body = self._store.getvalue()
        else:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._store = self._view = self._incoming = None
        self._pieces = []
        self._primed = self.in_body = False
        incoming.request.body = body
        self._sink.request(incoming)

    # --- Upgrade ------------------------------------------------------------------------------------------------

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """Clients offer h2c with a request that they also mean (Java's). We decline by answering it as HTTP/1.1.

        llhttp stops behind the head then, so another parser is brought to the same point and reads the body.
        """
        incoming = self._incoming
        if incoming is None:
            self._fail(_malformed("unexpected upgrade"))
            return
        framing = "transfer-encoding: chunked" if incoming.length is None else f"content-length: {incoming.length}"
        self._parser = httptools.HttpRequestParser(self)
        self._primed = True
        self._feed(memoryview(f"POST / HTTP/1.1\r\nhost: -\r\n{framing}\r\n\r\n".encode()))
        self.in_head = False
        self._primed = self._incoming is not None
        if rest and not self.failed:
            self._feed(rest)


def _malformed(what: object) -> HttpError:
    return HttpError(400, f"malformed request: {what}", limit=MALFORMED)


def _too_large(message: str) -> HttpError:
    return HttpError(413, message, limit="max_request_body_size")
