"""What a request shows to be let in: user and password, a token, one of OAuth 2.0, headers of the user's own.

Files are read for every request: what renews a token in place need tell nobody.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote_plus, urlencode

import msgspec

from hawse.prometheus.http_settings import Authorization, BasicAuth, Header, HttpClientSettings, OAuth2
from hawse.values import Secret

_EARLY = 10.0  # seconds before its end in which a token is not used any more
_AGAIN = 5.0  # seconds for which a refusal stands: a thousand targets must not ask at once
_FORM = "application/x-www-form-urlencoded"

# Posts a form to a URL with headers; gives status and body. Raises what the caller's requests raise.
Post: TypeAlias = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]


class CredentialError(Exception):
    """There are none to be had; says why and how to mend it."""


class Credentials:
    """Of one client. `post` is how it reaches the token server."""

    def __init__(self, settings: HttpClientSettings, post: Post) -> None:
        self._basic = settings.basic_auth
        self._authorization = settings.credentials()
        self._extra = settings.http_headers
        self._token = Token(settings.oauth2, post) if settings.oauth2 is not None else None

    async def headers(self) -> dict[str, str]:
        """For the next request. Raises CredentialError."""
        headers = {name: _joined(name, header) for name, header in self._extra.items()} if self._extra else {}
        if self._basic is not None:
            headers["authorization"] = _basic(self._basic)
        elif self._authorization is not None:
            headers["authorization"] = _authorization(self._authorization)
        elif self._token is not None:
            headers["authorization"] = await self._token.header()
        return headers

    def refused(self) -> None:
        """The server did not like them: a token is asked for anew."""
        if self._token is not None:
            self._token.forget()


class Token:
    """A token by the client credentials grant (RFC 6749, 4.4), kept until shortly before it expires."""

    def __init__(self, settings: OAuth2, post: Post) -> None:
        self._settings = settings
        self._post = post
        self._lock = asyncio.Lock()
        self._header = ""
        self._until = 0.0
        self._secret = ""
        self._in_body = False  # how the server wants to be shown the secret: found out, as Go's oauth2 does
        self._failure = ""
        self._failed = float("-inf")

    async def header(self) -> str:
        """The value of `Authorization`. Raises CredentialError, or what `post` raises."""
        secret = _given(self._settings.client_secret, self._settings.client_secret_file)
        async with self._lock:
            now = time.monotonic()
            if not self._header or now >= self._until or secret != self._secret:
                if now - self._failed < _AGAIN and secret == self._secret:
                    raise CredentialError(self._failure)
                self._secret = secret
                try:
                    await self._fetch(secret)
                except Exception as failure:
                    self._failure, self._failed = str(failure), time.monotonic()
                    raise
            return self._header

    def forget(self) -> None:
        """Do not use the token again."""
        self._until = 0.0

    async def _fetch(self, secret: str) -> None:
        status, body = await self._ask(secret)
        if status in {400, 401} and not self._in_body:
            self._in_body = True
            status, body = await self._ask(secret)
            self._in_body = status == 200
        url = self._settings.token_url
        if status != 200:
            raise CredentialError(f"oauth2: {url} answered {status}: {_said(body)}; check client_id and client_secret")
        token, kind, seconds = _read_token(body, url)
        self._header = f"{kind} {token}"
        self._until = time.monotonic() + seconds - _EARLY if seconds else float("inf")

    async def _ask(self, secret: str) -> tuple[int, bytes]:
        settings = self._settings
        form = {"grant_type": "client_credentials", **settings.endpoint_params}
        if settings.scopes:
            form["scope"] = " ".join(settings.scopes)
        headers = {"content-type": _FORM, "accept": "application/json"}
        if self._in_body:
            form |= {"client_id": settings.client_id, "client_secret": secret}
        else:  # RFC 6749, 2.3.1: both are encoded as in a form first
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await self._post(settings.token_url, headers, urlencode(form).encode())


def _read_token(body: bytes, url: str) -> tuple[str, str, float]:
    """Token, its type, and the seconds that it is good for (0: not said) of an answer (RFC 6749, 5.1)."""
    try:
        answer: Any = msgspec.json.decode(body)
        token = answer["access_token"]
        kind = str(answer.get("token_type") or "Bearer")
        seconds = float(answer.get("expires_in") or 0)
    except (ValueError, TypeError, KeyError, AttributeError):
        token = None
    if not isinstance(token, str) or not token:
        raise CredentialError(f"oauth2: {url} gave no access_token: {_said(body)}")
    return token, "Bearer" if kind.lower() == "bearer" else kind, seconds


def _said(body: bytes) -> str:
    return " ".join(body[:200].decode("utf-8", "replace").split()) or "(empty body)"


def _basic(settings: BasicAuth) -> str:
    user = _given(settings.username, settings.username_file)
    password = _given(settings.password, settings.password_file)
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _authorization(settings: Authorization) -> str:
    credentials = _given(settings.credentials, settings.credentials_file)
    return f"{settings.type or 'Bearer'} {credentials}".strip()


def _joined(name: str, header: Header) -> str:
    """A field that is sent several times is the same as one with its values joined (RFC 9110, 5.3)."""
    values = [*header.values, *(secret.reread().reveal() for secret in header.secrets)]
    return ", ".join([*values, *(_read(path, f"http_headers.{name}") for path in header.files)])


def _given(value: str, path: str) -> str:
    if path:
        return _read(path)
    return value.reread().reveal() if isinstance(value, Secret) else value


def _read(path: str, whose: str = "") -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        where = f"{whose}: " if whose else ""
        raise CredentialError(f"{where}cannot read {path}: {reason}; check that it is mounted and readable") from None
