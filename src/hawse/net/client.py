"""HTTP/1.1 client: kept connections, bounded in number, on our own protocol."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import urlsplit

from hawse import __version__
from hawse.component import Busy
from hawse.net import credentials
from hawse.net.compression import Malformed, TooLarge, decompress
from hawse.net.exchange import ClientConnection, Exchange, Lost
from hawse.net.pool import Pool
from hawse.net.settings import ClientConfig
from hawse.net.tls import ClientTLS
from hawse.wire import Buffer

_NONE: Mapping[str, str] = MappingProxyType({})
_Key: TypeAlias = tuple[str, str, int]  # scheme, host, port
_SCRATCH = 256 << 10  # bytes received at once
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), 127), " ")


class ClientResponse:
    """An answer, whole. `headers` has lower-case names; `body` is decompressed."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class StreamedResponse:
    """An answer whose body is read while it comes: iterate over it. Pieces are cut as the network cuts them."""

    def __init__(self, exchange: Exchange, connection: ClientConnection, where: str, stall: float | None) -> None:
        self.status = exchange.status
        self.headers: Mapping[str, str] = exchange.headers
        self._exchange = exchange
        self._connection = connection
        self._where = where
        self._stall = stall

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces. Raises Busy where the connection ends before the body, or stalls."""
        exchange = self._exchange
        while True:
            while exchange.pieces:
                piece = exchange.pieces.popleft()
                exchange.size -= len(piece)
                if not exchange.pieces:
                    self._connection.resume()
                yield piece
            if exchange.complete:
                return
            try:
                async with asyncio.timeout(self._stall):
                    await exchange.wait()
            except Lost as lost:
                raise Busy(f"{self._where}: {lost.reason}") from None
            except TimeoutError:
                raise Busy(f"{self._where}: nothing came for {self._stall:g}s") from None

    async def read(self, limit: int = 1 << 20) -> bytes:
        """The rest of the body, at most `limit` bytes of it."""
        pieces, size = [], 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if size >= limit:
                break
        return b"".join(pieces)[:limit]


class HttpClient:
    """Sends requests to `settings.endpoint`, or to any URL.

    At most `max_conns_per_host` requests are under way to one host and port, further ones wait; a streamed answer
    counts until it is closed. All network failures are Busy, with a reason that names host and port.

    A kept connection may be closed by the server in the moment in which it is used again. Then, if it ended without
    a byte of an answer, the request is sent once more on a new connection: what Hawse sends may come twice, as any
    delivery that is tried again. `repeatable=False` turns that off.
    """

    def __init__(self, settings: ClientConfig, *, max_response_size: int = 64 << 20) -> None:
        """Raises HawseError if files of the TLS settings cannot be used."""
        self._settings = settings
        self._limit = max_response_size
        self._base = urlsplit(settings.endpoint)
        self._own = _split(settings.endpoint)[1]
        self._closed = False
        self._pools: dict[_Key, Pool] = {}
        self._tls = ClientTLS(settings.tls)
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._secrets = dict(settings.headers)
        self._common = self._common_lines()
        if settings.endpoint:
            self._pool(self._own)

    async def request(
        self,
        method: str,
        url: str,
        parts: Iterable[Buffer] | bytes = b"",
        headers: Mapping[str, str] = _NONE,
        *,
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> ClientResponse:
        """Send a request and read its answer, whatever its status.

        `url` is a URL, a path that is put behind the endpoint's, or "" for the endpoint itself. `parts` are the
        body's pieces, written without being joined first; they must stay as they are until this returns. `timeout`
        (seconds) replaces the settings'.
        """
        target, pool = self._target(url)
        body = [parts] if isinstance(parts, bytes) else list(parts)
        limit = self._settings.timeout if timeout is None else timeout
        exchange = Exchange(head_only=method == "HEAD", limit=self._limit)
        async with pool.turn():
            try:
                async with asyncio.timeout(limit or None):
                    return await self._exchanged(pool, exchange, method, target, body, headers, repeatable)
            except TimeoutError:
                raise Busy(f"{pool.name} did not answer within {limit:g}s") from None

    async def _exchanged(
        self,
        pool: Pool,
        exchange: Exchange,
        method: str,
        target: str,
        body: Sequence[Buffer],
        headers: Mapping[str, str],
        repeatable: bool,  # noqa: FBT001
    ) -> ClientResponse:
        connection = await self._begin(pool, exchange, method, target, body, headers, repeatable=repeatable)
        try:
            while not exchange.complete and not (exchange.head_only and exchange.status):
                await exchange.wait()
        except Lost as lost:
            raise Busy(f"{pool.name}: {lost.reason}") from None
        finally:
            if exchange.head_only:
                connection.close()
            pool.give_back(connection)
        return ClientResponse(exchange.status, exchange.headers, self._body(pool, exchange))

    def _body(self, pool: Pool, exchange: Exchange) -> bytes:
        body = exchange.pieces[0] if len(exchange.pieces) == 1 else b"".join(exchange.pieces)
        encoding = exchange.headers.get("content-encoding", "")
        if not encoding or not body:
            return body
        try:
            return decompress(body, encoding, self._limit)
        except (TooLarge, Malformed, KeyError) as error:
            raise Busy(f"{pool.name}: the answer cannot be decompressed: {error}") from None

    async def _begin(
        self,
        pool: Pool,
        exchange: Exchange,
        method: str,
        target: str,
        body: Sequence[Buffer],
        headers: Mapping[str, str],
        *,
        repeatable: bool,
    ) -> ClientConnection:
        """Send, and wait for the answer's first sign. The connection is the caller's to release."""
        size = sum(map(len, body))
        head = self._head(pool, method, target, size, headers)
        fresh = False
        while True:
            connection = await pool.take(fresh=fresh)
            try:
                await connection.send(exchange, head, body, size)
                if not exchange.status and not exchange.complete:
                    await exchange.wait()
                return connection
            except Lost as lost:
                again = lost.untouched and connection.used and repeatable and not fresh
                pool.give_back(connection)
                if not again:
                    reason = pool.lost(connection, lost.reason) if lost.untouched else f"{pool.name}: {lost.reason}"
                    raise Busy(reason) from None
            except BaseException:
                connection.close()
                pool.give_back(connection)
                raise
            fresh = True
            exchange.error = None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = _NONE,
        *,
        timeout: float | None = None,
        stall: float | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """Send a request without body and read the answer's body while it comes.

        `timeout` is for the head of the answer. `stall` (seconds) ends a body in which nothing comes for that long.
        Leaving the block before the body's end closes the connection.
        """
        target, pool = self._target(url)
        limit = self._settings.timeout if timeout is None else timeout
        exchange = Exchange(streams=True)
        async with pool.turn():
            try:
                async with asyncio.timeout(limit or None):
                    connection = await self._begin(pool, exchange, method, target, (), headers, repeatable=True)
            except TimeoutError:
                raise Busy(f"{pool.name} did not answer within {limit:g}s") from None
            try:
                yield StreamedResponse(exchange, connection, pool.name, stall)
            finally:
                if not exchange.complete:
                    connection.close()
                pool.give_back(connection)

    def renew(self) -> list[str]:
        """Read credentials again that came out of files: headers, and TLS's certificates, for new connections.

        Returns what is different now, by its key. A file that cannot be used leaves what was there.
        """
        self._secrets, changed = credentials.reread(self._secrets)
        self._common = self._common_lines()
        return changed + self.renew_tls()

    def renew_tls(self) -> list[str]:
        """The same for the files of TLS only: their keys, where they changed. Kept connections end then."""
        changed = self._tls.renew()
        if changed:
            for pool in self._pools.values():
                pool.hang_up()
        return changed

    def forget(self, url: str) -> None:
        """Close what is kept for the host of a URL: no more requests are to come, or not for long."""
        pool = self._pools.pop(_split(url)[1], None)
        if pool is not None:
            pool.retire()

    def renewed(self) -> str:
        """Do so, and say what came of it, as the end of a message about refused credentials."""
        return credentials.told(self.renew(), self._secrets, self._settings.tls)

    def name(self, url: str) -> str:
        """Host and port of a URL or path, as in messages."""
        return self._target(url)[1].name

    async def close(self) -> None:
        """Close all connections. Requests under way, and later ones, are Busy."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)

    def _common_lines(self) -> bytes:
        headers = {name: value.reveal() for name, value in self._secrets.items()}
        return _lines({"user-agent": f"hawse/{__version__}"}) + _lines(headers)

    def _target(self, url: str) -> tuple[str, Pool]:
        if url.startswith("/"):
            return self._base.path.rstrip("/") + url, self._pool(self._own)
        target, key = _split(url or self._settings.endpoint)
        return target, self._pool(key)

    def _pool(self, key: _Key) -> Pool:
        pool = self._pools.get(key)
        if self._closed:
            raise Busy("the client is closed")
        if pool is None:
            pool = self._pools[key] = Pool(*key, self._settings, self._tls, self._scratch)
        return pool

    def _head(self, pool: Pool, method: str, target: str, size: int, headers: Mapping[str, str]) -> bytes:
        lines = f"{method} {target} HTTP/1.1\r\nhost: {pool.name}\r\n".encode() + self._common + _lines(headers)
        if size or method in {"POST", "PUT", "PATCH"}:
            lines += b"content-length: %d\r\n" % size
        return lines + b"\r\n"


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[str, _Key]:
    """The target of a request for a URL, and whom to ask."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), (parts.scheme, parts.hostname or "", port)


def _lines(headers: Mapping[str, str]) -> bytes:
    """Header fields. Values may come from telemetry: control characters would end a line, and become spaces."""
    return "".join(f"{name}: {value.translate(_CONTROLS)}\r\n" for name, value in headers.items()).encode(
        "utf-8", "replace"
    )
