"""TLS contexts from settings: the standard library's `ssl` only, so one OpenSSL serves the whole program."""

import contextlib
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hawse.diagnostics import HawseError
from hawse.net.settings import TLSClient, TLSServer

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(settings: TLSServer, path: str) -> ssl.SSLContext:
    """For `create_server`. Raises HawseError naming the file that cannot be used, placed below `path`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _versions(context, settings)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _load_identity(context, settings.cert_file, settings.key_file, f"{path}.tls")
    if settings.client_ca_file:
        _load_authorities(context, settings.client_ca_file, f"{path}.tls.client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: TLSClient, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """For `create_connection`. Raises HawseError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _versions(context, settings)
    context.set_alpn_protocols(alpn)
    own = settings.ca_file or settings.ca_pem.strip()
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file:
        _load_authorities(context, settings.ca_file, "tls.ca_file")
    elif own:
        _load_inline_authorities(context, settings.ca_pem)
    if not own or settings.include_system_ca_certs_pool:
        context.load_default_certs()
    if settings.has_certificate:
        with (
            _file(settings.cert_file, settings.cert_pem) as cert_file,
            _file(settings.key_file, settings.key_pem.reveal()) as key_file,
        ):
            _load_identity(context, cert_file, key_file, "tls")
    return context


class ClientTLS:
    """The one TLS context of a client: made when it is first asked for, and anew when its files have changed.

    A context with the system's authorities takes some megabytes and tens of milliseconds, so connections share it.
    """

    def __init__(self, settings: TLSClient, alpn: Sequence[str] = ("http/1.1",)) -> None:
        """`alpn` are the protocols that are offered (RFC 7301)."""
        self._settings = settings
        self._alpn = alpn
        self._context: ssl.SSLContext | None = None
        self._files: dict[str, bytes] = {}

    def context(self) -> ssl.SSLContext:
        """Raises HawseError naming the file that cannot be used."""
        if self._context is None:
            files = self._read()
            self._context = client_context(self._settings, self._alpn)
            self._files = files
        return self._context

    def renew(self) -> list[str]:
        """Read the files again, and return the keys of those that are different; new connections use what they hold.

        Files that cannot be used (half-written, say) leave the context as it is: they are looked at again.
        """
        if self._context is None:
            return []
        files = self._read()
        changed = [key for key, content in files.items() if content != self._files.get(key)]
        if changed:
            try:
                self._context = client_context(self._settings, self._alpn)
            except HawseError:
                return []
            self._files = files
        return changed

    def _read(self) -> dict[str, bytes]:
        found = {}
        for key in ("ca_file", "cert_file", "key_file"):
            if path := getattr(self._settings, key):
                with contextlib.suppress(OSError):
                    found[f"tls.{key}"] = Path(path).read_bytes()
        return found


@contextmanager
def _file(path: str, text: str) -> Iterator[str]:
    """A path that holds the text, for OpenSSL reads certificates from files only; `path` where there is no text."""
    if path or not text:
        yield path
        return
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)  # nothing of a key gets to a disk
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


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
            f"{_named(cert_file)} and {_named(key_file)} are no usable certificate and key: {error}",
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


def _load_inline_authorities(context: ssl.SSLContext, text: str) -> None:
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise HawseError.of(
            "HW301", f"there are no usable CA certificates in it: {error}", fix="give PEM text", path="tls.ca_pem"
        ) from None


def _named(path: str) -> str:
    return "what is written here" if path.startswith("/proc/self/fd/") else path


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
