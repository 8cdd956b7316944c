"""HTTP/1.1 requests from bytes, within limits (RFC 9112), on llhttp's strict mode.

llhttp refuses what request smuggling lives on: content-length beside transfer-encoding, two content-lengths, bare
line feeds, malformed chunks. What it leaves to its user is checked here and in `head`.
"""

import io
from typing import Protocol

import httptools

from hawse.net.head import Incoming, read_head
from hawse.net.http import HttpError
from hawse.net.routes import Routes
from hawse.net.settings import ServerConfig

_DIRECT = 64 << 10  # a body of known size above this is received in place, without passing the parser


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
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._scratch = scratch
        self._peer = peer
        self._sink = sink
        self.failed = False
        self.in_head = False
        self.in_body = False
        self._began = False  # whether the head began in the bytes being fed
        self._primed = False
        self._head_bytes = 0
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = 0
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
                self._parser = httptools.HttpRequestParser(self)  # the old one still waits for this body
                self.on_message_complete()
            return
        self._began = False
        self._feed(self._scratch[:count])
        if self.in_head and not self.failed:
            if not self._began:
                self._head_bytes += count
            self._check_head()

    def _feed(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._ignore_upgrade(data[pause.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, HttpError) else HttpError(400, f"malformed request: {error}"))
        except httptools.HttpParserError as error:
            self._fail(HttpError(400, f"malformed request: {error}"))

    def _fail(self, error: HttpError) -> None:
        self.failed = True
        self.in_head = self.in_body = False
        self._pieces = []
        self._store = self._view = None
        self._sink.refuse(error)

    # --- llhttp's callbacks -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.in_head = self._began = True
        if not self._primed:
            self._url = b""
            self._fields = []
            self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._primed:
            self._url += url
            self._head_bytes += len(url)
            self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._primed:
            return
        self._fields.append((name, value))
        self._head_bytes += len(name) + len(value) + 4
        self._check_head()
        if len(self._fields) > self._settings.max_header_count:
            raise HttpError(431, f"more than {self._settings.max_header_count} header fields (max_header_count)")

    def _check_head(self) -> None:
        limit = self._settings.max_header_bytes
        if self._head_bytes > limit:
            error = HttpError(431, f"the header has more than {limit} bytes (max_header_bytes)")
            if self._began:
                raise error
            self._fail(error)

    def on_headers_complete(self) -> None:
        if self._primed:
            return
        self.in_head = False
        self.in_body = True
        self._pieces = []
        self._size = 0
        incoming = self._incoming = read_head(
            self._parser.get_method().decode("ascii"),
            self._parser.get_http_version(),
            self._url,
            self._fields,
            self._routes,
            self._peer,
        )
        incoming.close = not self._parser.should_keep_alive()
        self._limit = incoming.route.mount.settings.max_request_body_size
        length = incoming.length
        if length is not None and length > self._limit:
            raise HttpError(413, f"the body has {length} bytes, {self._limit} are allowed (max_request_body_size)")
        if length != 0:
            # BytesIO hands out the very bytes object that was received into, without a copy. Chunks are gathered in
            # one, too: a list of them would take many times the body's size if a stranger made them small.
            if length is None:
                self._store = io.BytesIO()
            elif length > _DIRECT:
                self._store = io.BytesIO(bytes(length))
            self._sink.head(incoming)

    def on_body(self, piece: bytes) -> None:
        size = self._size + len(piece)
        if size > self._limit:
            raise HttpError(413, f"the body has more than {self._limit} bytes (max_request_body_size)")
        if self._store is not None:
            self._store.write(piece)
            length = self._incoming.length if self._incoming is not None else None
            if length is not None and size != length and self._view is None:
                self._view = self._store.getbuffer()
        else:
            self._pieces.append(piece)
        self._size = size

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
            self._fail(HttpError(400, "malformed request: unexpected upgrade"))
            return
        framing = "transfer-encoding: chunked" if incoming.length is None else f"content-length: {incoming.length}"
        self._parser = httptools.HttpRequestParser(self)
        self._primed = True
        self._parser.feed_data(f"POST / HTTP/1.1\r\nhost: -\r\n{framing}\r\n\r\n".encode())
        self.in_head = False
        self._primed = self._incoming is not None
        if rest:
            self._feed(rest)
