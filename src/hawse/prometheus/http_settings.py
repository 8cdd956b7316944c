"""How Prometheus talks HTTP to targets and discovery: the keys of its `http_config`, for every section that has them.

prometheus.io/docs/prometheus/latest/configuration, "HTTP client settings". Made into a client by
`hawse.prometheus.http`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from hawse.component import Connects, Need, Problem, Reads, Section
from hawse.net.settings import TLSClient, url_problems
from hawse.values import Secret

TLSVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13", ""]
_VERSIONS: dict[str, Any] = {"": "1.2", "TLS10": "1.2", "TLS11": "1.2", "TLS12": "1.2", "TLS13": "1.3"}


class BasicAuth(Section, frozen=True):
    """User and password, given here or in files that are read again for every connection."""

    username: str = ""
    username_file: str = ""
    password: Secret = Secret("")
    password_file: str = ""

    def problems(self) -> Iterator[Problem]:
        for one in ("username", "password"):
            if getattr(self, one) and getattr(self, f"{one}_file"):
                yield Problem(f"{one}_file", f"at most one of {one} and {one}_file", "remove one of them")


class Authorization(Section, frozen=True):
    """What stands in the header `Authorization`: a type and credentials."""

    type: str = "Bearer"
    credentials: Secret = Secret("")
    credentials_file: str = ""

    def problems(self) -> Iterator[Problem]:
        if self.type.strip().lower() == "basic":
            yield Problem("type", 'authorization type cannot be "basic"', "use basic_auth instead")
        if self.credentials and self.credentials_file:
            yield Problem("credentials_file", "at most one of credentials and credentials_file", "remove one of them")


class TLSConfig(Section, frozen=True):
    """TLS of a client. Certificates and keys are given as PEM text or as files. TLS before 1.2 is not spoken."""

    ca: str = ""
    ca_file: str = ""
    cert: str = ""
    cert_file: str = ""
    key: Secret = Secret("")
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: TLSVersion = ""
    max_version: TLSVersion = ""

    def problems(self) -> Iterator[Problem]:
        for one in ("ca", "cert", "key"):
            if getattr(self, one) and getattr(self, f"{one}_file"):
                yield Problem(f"{one}_file", f"at most one of {one} and {one}_file", "remove one of them")
        if bool(self.cert or self.cert_file) != bool(self.key or self.key_file):
            missing = "key_file" if self.cert or self.cert_file else "cert_file"
            yield Problem(missing, "a client certificate and its key belong together", f"set {missing}, too")
        if self.max_version in {"TLS10", "TLS11"}:
            yield Problem("max_version", "TLS before 1.2 is not spoken", 'write "TLS12" or "TLS13"')

    def client(self) -> TLSClient:
        """The same for `hawse.net`, without what is given as text (`ca`, `cert`, `key`)."""
        return TLSClient(
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            server_name_override=self.server_name,
            insecure_skip_verify=self.insecure_skip_verify,
            min_version=_VERSIONS[self.min_version],
            max_version=_VERSIONS[self.max_version] if self.max_version else "",
        )


class ProxySettings(Section, frozen=True):
    """Which proxy to go through."""

    proxy_url: str = ""
    no_proxy: Annotated[str, Meta(description="Hosts, domains and CIDRs, comma-separated, reached directly.")] = ""
    proxy_from_environment: Annotated[bool, Meta(description="Use HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")] = False
    proxy_connect_header: dict[str, tuple[Secret, ...]] = field(default_factory=dict)

    def problems(self) -> Iterator[Problem]:
        if self.proxy_from_environment and (self.proxy_url or self.no_proxy):
            key = "proxy_url" if self.proxy_url else "no_proxy"
            yield Problem(key, f"if proxy_from_environment is set, {key} must not be", "remove one of them")
        elif self.no_proxy and not self.proxy_url:
            yield Problem("no_proxy", "if no_proxy is set, proxy_url must be, too", "set proxy_url")
        if self.proxy_connect_header and not (self.proxy_url or self.proxy_from_environment):
            yield Problem("proxy_connect_header", "there is no proxy to send it to", "set proxy_url")


class OAuth2(ProxySettings, frozen=True):
    """A token from an OAuth 2.0 server by the client credentials grant (RFC 6749, 4.4)."""

    client_id: str = ""
    client_secret: Secret = Secret("")
    client_secret_file: str = ""
    scopes: tuple[str, ...] = ()
    token_url: str = ""
    endpoint_params: dict[str, str] = field(default_factory=dict)
    tls_config: TLSConfig = field(default_factory=TLSConfig)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        for key in ("client_id", "token_url"):
            if not getattr(self, key):
                yield Problem("", f"oauth2 {key} must be configured", f"set {key}")
        yield from url_problems("token_url", self.token_url)
        if self.client_secret and self.client_secret_file:
            yield Problem("client_secret_file", "at most one of client_secret and client_secret_file", "remove one")


class Header(Section, frozen=True):
    """A header's values, given here, as secrets, or in files."""

    values: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    files: tuple[str, ...] = ()


# Headers that Prometheus sets itself (prometheus/common, config/headers.go).
_RESERVED = re.compile(
    r"authorization|host|content-(encoding|length|type)|user-agent|connection|keep-alive|accept-encoding|"
    r"proxy-(authenticate|authorization)|www-authenticate|x-prometheus-remote-(read|write)-version|"
    r"x-prometheus-scrape-timeout-seconds|x-amz-(date|security-token|content-sha256)",
    re.IGNORECASE,
)


class HttpClientSettings(ProxySettings, frozen=True):
    """Credentials, TLS, proxy and headers: what every section of Prometheus that speaks HTTP has in itself."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    bearer_token: Annotated[Secret, Meta(description="Deprecated: authorization.credentials.")] = Secret("")
    bearer_token_file: Annotated[str, Meta(description="Deprecated: authorization.credentials_file.")] = ""
    tls_config: TLSConfig = field(default_factory=TLSConfig)
    follow_redirects: bool = True
    enable_http2: Annotated[bool, Meta(description="Of no effect: targets are asked by HTTP/1.1.")] = True
    http_headers: dict[str, Header] = field(default_factory=dict)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        bearer = [key for key in ("bearer_token", "bearer_token_file") if getattr(self, key)]
        given = [key for key in ("basic_auth", "authorization", "oauth2") if getattr(self, key) is not None] + bearer
        if len(given) > 1:
            what = " and ".join(given) if len(given) == 2 else ", ".join(given[:-1]) + f" and {given[-1]}"
            yield Problem(given[1], f"at most one of {what} must be configured", "remove the others")
        for name in self.http_headers:
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                yield Problem(f"http_headers.{name}", f"{name!r} is no header name", "use letters, digits and dashes")
            elif _RESERVED.fullmatch(name):
                yield Problem(f"http_headers.{name}", f'setting header "{name}" is not allowed', "remove it")

    def credentials(self) -> Authorization | None:
        """What to put into `Authorization`, whichever key it was given by; not for basic_auth and oauth2."""
        if self.authorization is None and (self.bearer_token or self.bearer_token_file):
            return Authorization(credentials=self.bearer_token, credentials_file=self.bearer_token_file)
        return self.authorization


def client_needs(settings: HttpClientSettings, purpose: str) -> Iterator[Need]:
    """All files that a client of these settings reads, and the token server that it asks; not whom it is for."""
    tls = [settings.tls_config]
    given = settings.credentials()
    paths = [given.credentials_file if given is not None else ""]
    if settings.basic_auth is not None:
        paths += [settings.basic_auth.username_file, settings.basic_auth.password_file]
    if settings.oauth2 is not None:
        tls.append(settings.oauth2.tls_config)
        paths.append(settings.oauth2.client_secret_file)
        yield connects(settings.oauth2.token_url, "OAuth 2.0 tokens")
    for header in settings.http_headers.values():
        paths += header.files
    for one in tls:
        paths += [one.ca_file, one.cert_file, one.key_file]
    for path in filter(None, paths):
        yield Reads(path, purpose)


def connects(url: str, purpose: str) -> Connects:
    """The connection that a URL takes."""
    parts = urlsplit(url)
    return Connects(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), "tcp", purpose)
