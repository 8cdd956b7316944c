"""How a `kubernetes_sd_configs` entry reaches the API server, and which namespaces it is about."""

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hawse.component import Need, Reads
from hawse.diagnostics import HawseError
from hawse.kube import access
from hawse.kube.access import SERVICE_ACCOUNT, Access, Trust
from hawse.kube.credentials import Credentials, Fixed, TokenFile
from hawse.prometheus.http_settings import BasicAuth, HttpClientSettings, client_needs, connects
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.values import Secret

ALL = ("",)


def reach(config: KubernetesSDConfig) -> Access:
    """The API server and our identity. Raises HawseError, which says what to set where."""
    if not config.api_server:
        return access.of(config.auth)
    tls = config.tls_config
    trust = Trust(
        ca_file=tls.ca_file,
        ca_pem=tls.ca.encode(),
        cert_file=tls.cert_file,
        cert_pem=tls.cert.encode(),
        key_file=tls.key_file,
        key_pem=tls.key.reveal().encode(),
        server_name=tls.server_name,
        insecure=tls.insecure_skip_verify,
        file="kubernetes_sd_configs.tls_config",
    )
    return Access(config.api_server, _credentials(config), trust=trust, origin="kubernetes_sd_configs")


def _credentials(config: KubernetesSDConfig) -> Credentials:
    given = config.credentials()
    if config.basic_auth is not None:
        return Basic(config.basic_auth)
    if given is None:
        return Fixed({})
    if given.credentials_file:
        return TokenFile(given.credentials_file)
    return Fixed({"authorization": f"{given.type} {given.credentials.reveal()}"})


class Basic:
    """User and password, out of files that may be renewed."""

    certificate: tuple[bytes, bytes] | None = None

    def __init__(self, settings: BasicAuth) -> None:
        self._settings = settings

    async def headers(self) -> Mapping[str, str]:
        """See Credentials."""
        settings = self._settings
        user = _read(settings.username_file) if settings.username_file else settings.username
        password = _read(settings.password_file) if settings.password_file else settings.password.reread().reveal()
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    def expire(self) -> bool:
        """See Credentials."""
        return bool(self._settings.username_file or self._settings.password_file)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        fix = "check that it is mounted, and readable for this user"
        raise HawseError.of("HW504", f"cannot read the credentials: {reason}", fix=fix, file=path) from None


def namespaces(config: KubernetesSDConfig) -> tuple[str, ...]:
    """The namespaces to look in; ("",) for all. Raises HawseError where our own is not known."""
    wanted = config.namespaces
    own = (_own_namespace(),) if wanted.own_namespace else ()
    return tuple(dict.fromkeys((*wanted.names, *own))) or ALL


def _own_namespace() -> str:
    try:
        name = (SERVICE_ACCOUNT / "namespace").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot read our own namespace: {reason}"
        fix = "outside a pod, name the namespace in namespaces.names"
        raise HawseError.of("HW504", message, fix=fix, file=str(SERVICE_ACCOUNT / "namespace")) from None
    if not name:
        raise HawseError.of("HW504", "our own namespace is empty", file=str(SERVICE_ACCOUNT / "namespace"))
    return name


def needs(config: KubernetesSDConfig, env: Mapping[str, str] = os.environ) -> Iterator[Need]:
    """What reaching the API server takes: a connection, and the files of our identity."""
    if not config.api_server:
        yield from access.needs(config.auth, env)
        if config.namespaces.own_namespace:
            yield Reads(str(SERVICE_ACCOUNT / "namespace"), "our own namespace")
        return
    yield connects(config.api_server, "Kubernetes API server")
    yield from client_needs(config, "credentials for the API server")


def scopes(config: KubernetesSDConfig, env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The namespaces as permissions name them, before there is a pod: our own from POD_NAMESPACE, where it is set."""
    try:
        found = namespaces(config)
    except HawseError:
        found = (*config.namespaces.names, env.get("POD_NAMESPACE", "") or "own namespace")
    return tuple(name or "cluster" for name in dict.fromkeys(found))


def encoded(value: Any) -> bytes:
    """A configuration as a key of dicts: with its secrets, never to be shown."""
    return msgspec.json.encode(value, enc_hook=lambda one: one.reveal() if isinstance(one, Secret) else str(one))


def server_identity(config: KubernetesSDConfig) -> bytes:
    """Equal for configurations that reach the same API server in the same way."""
    keys = ("api_server", "kubeconfig_file", *HttpClientSettings.__struct_fields__)
    return encoded([getattr(config, key) for key in keys])
