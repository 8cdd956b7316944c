"""HTTP as Prometheus speaks it to targets and to discovery: `GET` with credentials, redirects, bounded bodies.

    client = ScrapeClient(settings)                   # one a scrape configuration
    answer = await client.get(url, {"accept": "…"}, timeout=10, limit=64 << 20)
    answer.body, answer.headers["content-type"]
    await client.close()

Every failure is a FetchError with a sentence for the user and a short code to count it under.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import msgspec

from hawse.component import Busy
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient, StreamedResponse
from hawse.net.compression import Malformed, TooLarge
from hawse.net.http import reason as phrase
from hawse.net.inflate import Inflater
from hawse.net.settings import ClientConfig, TLSClient
from hawse.prometheus.credentials import CredentialError, Credentials
from hawse.prometheus.http_settings import HttpClientSettings, TLSConfig
from hawse.values import Duration

_REDIRECTS = 10  # as Go's client follows
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_LOOK = 1.0  # seconds between two looks at the files of TLS
_IDLE = 300.0  # seconds that a connection is kept, as Prometheus does
_WORDS = 4096  # bytes of a refusal that are read
_SMALL = 64 << 10  # bytes of a body that need no leave
_TURN = 1 << 20  # bytes unfolded before others get a turn
_PIECES, _PIECE = 4096, 4  # each chunk costs us a call, and its sender a few bytes
_TOKEN_LIMIT = 1 << 20

# Awaited with the size that a body is about to grow to, before it does; may raise to end the request.
Room: TypeAlias = Callable[[int], Awaitable[None]]


class FetchError(Exception):
    """No answer that is of use. `code` is one of few: timeout, connection, tls, http_status, redirect, url,
    credentials, body_size_limit, malformed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Answer:
    """A 200, its body decompressed. `headers` has lower-case names."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Mapping[str, str], body: bytearray) -> None:
        self.headers = headers
        self.body = body


class ScrapeClient:
    """One client for all targets of a scrape configuration: they share its credentials and its TLS context.

    Connections are kept, for each host its own; there is no bound to how many are under way: that is the caller's.
    """

    def __init__(self, settings: HttpClientSettings) -> None:
        self._settings = settings
        self._client = _client(settings.tls_config)
        self._tokens = _client(settings.oauth2.tls_config) if settings.oauth2 is not None else None
        self._credentials = Credentials(settings, self._post)
        self._look_at = 0.0

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        limit: int,
        room: Room | None = None,
    ) -> Answer:
        """The answer with status 200 to a GET, within `timeout` seconds for all of it, body included.

        `url` is absolute and percent-encoded. Redirects are followed, without credentials where they lead to another
        host. A body over `limit` bytes (decompressed; 0: no limit) is given up while it comes. Raises FetchError.
        """
        try:
            if not _usable(url):
                raise ValueError
            async with asyncio.timeout(timeout):
                return await self._followed(url, headers, limit or 1 << 62, room)
        except TimeoutError:
            raise FetchError("timeout", f"{_host(url)} gave no whole answer within {timeout:g}s") from None
        except CredentialError as error:
            raise FetchError("credentials", str(error)) from None
        except ValueError:
            raise FetchError("url", f"{url[:200]!r} is no HTTP URL") from None
        except Busy as busy:
            raise FetchError("connection", _worded(busy.reason)) from None
        except HawseError as error:
            found = error.findings[0]
            raise FetchError("tls", _worded(f"{found.where.path}: {found.message}; {found.fix}")) from None

    def forget(self, url: str) -> None:
        """Close what is kept for the host of a URL: it is not asked any more."""
        self._client.forget(url)

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        await self._client.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def _followed(self, url: str, headers: Mapping[str, str], limit: int, room: Room | None) -> Answer:
        self._look()
        first = url
        for _ in range(_REDIRECTS + 1):
            own = await self._credentials.headers() if _may_have_credentials(first, url) else {}
            async with self._client.stream("GET", url, {**headers, **own}, timeout=0) as response:
                if response.status == 200:
                    return Answer(response.headers, await _body(response, limit, room))
                target = response.headers.get("location", "")
                if response.status not in _REDIRECT or not target or not self._settings.follow_redirects:
                    raise await self._refusal(url, response)
                await response.read(4096)  # so that the connection may be used again
            url = _redirected(url, target)
        raise FetchError("redirect", f"{first} leads on to others more than {_REDIRECTS} times")

    async def _refusal(self, url: str, response: StreamedResponse) -> FetchError:
        if response.status in {401, 403}:
            self._credentials.refused()
        said = " ".join(_readable(response, await response.read(_WORDS)).decode("utf-8", "replace").split())
        status = f"{response.status} {phrase(response.status)}".strip()
        return FetchError("http_status", f"{_host(url)} answered HTTP status {status}" + (said and f": {said}"))

    def _look(self) -> None:
        """Certificates that were renewed in place are used from the next connection on."""
        now = asyncio.get_running_loop().time()
        if now >= self._look_at:
            self._look_at = now + _LOOK
            self._client.renew_tls()
            if self._tokens is not None:
                self._tokens.renew_tls()

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        assert self._tokens is not None
        answer = await self._tokens.request("POST", url, body, headers, timeout=0)
        return answer.status, answer.body


def _readable(response: StreamedResponse, raw: bytes) -> bytes:
    """The beginning of a body for people; nothing of one that is not what its header says."""
    if not response.headers.get("content-encoding", "").strip().lower().endswith("gzip"):
        return raw[:300]
    try:
        return b"".join(Inflater(_WORDS * 100).feed(raw))[:300]
    except (Malformed, TooLarge):
        return b""


async def _body(response: StreamedResponse, limit: int, room: Room | None) -> bytearray:
    """The body, decompressed. Raises FetchError over `limit` bytes, or where it is not what its header says."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise FetchError(
            "malformed", f"the body comes in the content encoding {encoding[:50]!r}, which was not asked for"
        )
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    inflater = Inflater(limit) if encoding.endswith("gzip") else None
    body = bytearray()
    granted, since, pieces, came = _SMALL, 0, 0, 0
    try:
        async for raw in response:
            pieces += 1
            came += len(raw)
            if pieces > _PIECES and came < _PIECE * pieces:
                raise FetchError("malformed", f"the body comes in chunks of fewer than {_PIECE} bytes")
            for piece in (raw,) if inflater is None else inflater.feed(raw):
                size = len(body) + len(piece)
                if size > limit:
                    raise _too_large(limit)
                if size > granted and room is not None:
                    granted = max(size, 2 * len(body))
                    await room(granted)
                body += piece
                since += len(piece)
                if since > _TURN:
                    since = 0
                    await asyncio.sleep(0)
        if inflater is not None and came:
            inflater.finish()
    except TooLarge:
        raise _too_large(limit) from None
    except Malformed as error:
        raise FetchError("malformed", str(error)) from None
    return body


def _too_large(limit: int) -> FetchError:
    return FetchError("body_size_limit", f"the body has over {limit} bytes (body_size_limit)")


def _client(tls: TLSConfig) -> HttpClient:
    settings = ClientConfig(
        endpoint="",
        tls=_tls(tls),
        compression="none",
        timeout=Duration(0),
        max_conns_per_host=0,
        idle_conn_timeout=Duration(_IDLE),
    )
    return HttpClient(settings, max_response_size=_TOKEN_LIMIT)


def _tls(tls: TLSConfig) -> TLSClient:
    return msgspec.structs.replace(tls.client(), ca_pem=tls.ca, cert_pem=tls.cert, key_pem=tls.key)


def _redirected(url: str, target: str) -> str:
    try:
        new = urljoin(url, re.sub(r"[\s\x00-\x1f]", "", target))
        usable = _usable(new)
    except ValueError:
        usable = False
    if not usable:
        raise FetchError("redirect", f"{_host(url)} leads on to {target[:200]!r}, which is no HTTP URL")
    return new.partition("#")[0]


def _usable(url: str) -> bool:
    """Whether it is a URL to ask at. Raises ValueError where it is none at all."""
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0


def _may_have_credentials(first: str, url: str) -> bool:
    """Whoever may answer for the configured host may not send us to show its password to another."""
    if first == url:
        return True
    one, other = urlsplit(first), urlsplit(url)
    if (one.scheme, one.netloc) == (other.scheme, other.netloc):
        return True
    return one.hostname == other.hostname and one.scheme == "http" and other.scheme == "https"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _worded(message: str) -> str:
    """`hawse.net` names its own keys; Prometheus' section is called otherwise."""
    return re.sub(r"\btls\.((?:ca|cert|key)_(?:file|pem))", r"tls_config.\1", message).replace("_pem", "")
