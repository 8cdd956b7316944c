"""TLS contexts from settings: the standard library's `ssl` only, so one OpenSSL serves the whole program."""

import ssl
from pathlib import Path

from hawse.diagnostics import HawseError
from hawse.net.settings import TLSClient, TLSServer

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(settings: TLSServer, path: str) -> ssl.SSLContext:
    """For `create_server`. Raises HawseError naming the file that cannot be used, placed below `path`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _versions(context, settings)
    context.set_alpn_protocols(["http/1.1"])
    _load_identity(context, settings.cert_file, settings.key_file, f"{path}.tls")
    if settings.client_ca_file:
        _load_authorities(context, settings.client_ca_file, f"{path}.tls.client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: TLSClient) -> ssl.SSLContext:
    """For `create_connection`. Raises HawseError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _versions(context, settings)
    context.set_alpn_protocols(["http/1.1"])
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file:
        _load_authorities(context, settings.ca_file, "tls.ca_file")
    if not settings.ca_file or settings.include_system_ca_certs_pool:
        context.load_default_certs()
    if settings.cert_file:
        _load_identity(context, settings.cert_file, settings.key_file, "tls")
    return context


def _versions(context: ssl.SSLContext, settings: TLSServer | TLSClient) -> None:
    context.minimum_version = _VERSIONS[settings.min_version]
    if settings.max_version:
        context.maximum_version = _VERSIONS[settings.max_version]


def _load_identity(context: ssl.SSLContext, cert_file: str, key_file: str, section: str) -> None:
    _check_readable(cert_file, f"{section}.cert_file")
    _check_readable(key_file, f"{section}.key_file")
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise HawseError.of(
            "HW301",
            f"{cert_file} and {key_file} are no usable certificate and key: {error}",
            fix="give PEM files that belong together, the key without a passphrase",
            path=f"{section}.cert_file",
        ) from None


def _load_authorities(context: ssl.SSLContext, path: str, key: str) -> None:
    _check_readable(path, key)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise HawseError.of(
            "HW301", f"{path} holds no usable CA certificates: {error}", fix="give a PEM file", path=key
        ) from None


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _check_readable(path: str, key: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise HawseError.of(
            "HW301",
            f"cannot read {path}: {error.strerror}",
            fix="check that the file is mounted, and readable for this user",
            path=key,
        ) from None
