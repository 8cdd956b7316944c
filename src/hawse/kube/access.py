"""Where the API server is, how to trust it, and who we are: from a kubeconfig, or from inside a pod.

In a pod (kubernetes.io/docs/tasks/run-application/access-api-from-pod): KUBERNETES_SERVICE_HOST and _PORT, and the
service account's token and CA below `SERVICE_ACCOUNT`.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from hawse.component import Connects, Need, Reads
from hawse.diagnostics import HawseError
from hawse.kube import credentials, kubeconfig
from hawse.kube.credentials import Credentials, Fixed, TokenFile
from hawse.net.settings import TLSClient

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PURPOSE = "Kubernetes API server"


class Auth(msgspec.Struct, frozen=True):
    """How to find and convince the API server. Equal values share one connection and one watch."""

    auth_type: str = "serviceAccount"  # serviceAccount | kubeConfig | none
    context: str = ""
    kube_config_path: str = ""


class Access:
    """One API server and one identity.

    `url` has no slash at its end. CA and client certificates may rotate: `stamp()` tells when they have.
    """

    def __init__(
        self,
        url: str,
        who: Credentials,
        *,
        trust: "Trust",
        headers: Mapping[str, str] | None = None,
        origin: str = "",
    ) -> None:
        self.url = url.rstrip("/")
        self.credentials = who
        self.origin = origin  # for messages: where all this was configured
        self.extra_headers = headers or {}
        self._trust = trust

    async def headers(self) -> dict[str, str]:
        """What to send with a request to be known. Raises HawseError."""
        return {**self.extra_headers, **await self.credentials.headers()}

    def stamp(self) -> object:
        """Differs from an earlier one when a connection made then should not be used any more."""
        return (self._trust.stamp(), self.credentials.certificate)

    @contextmanager
    def tls(self) -> Iterator[TLSClient]:
        """Settings for an HTTP client, good for making it within the block: keys from memory are files only there.

        Raises HawseError naming the certificate or key that is of no use.
        """
        if not self.url.startswith("https:"):
            yield TLSClient()
            return
        with self._trust.settings(self.credentials.certificate) as settings:
            yield settings


class Trust(msgspec.Struct, frozen=True):
    """What is trusted and shown in TLS: PEM in memory, or files. `file` is for messages."""

    ca_file: str = ""
    ca_pem: bytes = b""
    cert_file: str = ""
    cert_pem: bytes = b""
    key_file: str = ""
    key_pem: bytes = b""
    server_name: str = ""
    insecure: bool = False
    file: str = ""

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """Changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.ca_file, self.cert_file, self.key_file))

    @contextmanager
    def settings(self, certificate: tuple[bytes, bytes] | None) -> Iterator[TLSClient]:
        """What the files say now; `certificate` (from an exec plugin) comes before one from the kubeconfig."""
        cert, key = certificate or (
            self.cert_pem or self._read(self.cert_file),
            self.key_pem or self._read(self.key_file),
        )
        authority = b"" if self.insecure else self.ca_pem or self._read(self.ca_file)
        self._check(authority, cert, key)
        with _in_memory(authority) as ca_file, _in_memory(cert) as cert_file, _in_memory(key) as key_file:
            yield TLSClient(
                ca_file=ca_file,
                cert_file=cert_file,
                key_file=key_file,
                insecure_skip_verify=self.insecure,
                server_name_override=self.server_name,
            )

    def _check(self, authority: bytes, cert: bytes, key: bytes) -> None:
        """Fail here, where it is known what the bytes are called, rather than in the HTTP client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if authority:
            self._load_authority(context, authority)
        if cert:
            self._load_identity(context, cert, key)

    def _read(self, path: str) -> bytes:
        if not path:
            return b""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            fix = "check that the file is there and readable for this user"
            raise HawseError.of("HW506", f"cannot read {path}: {error.strerror}", fix=fix, file=self.file) from None

    def _load_authority(self, context: ssl.SSLContext, pem: bytes) -> None:
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            where = self.ca_file or "certificate-authority-data"
            raise HawseError.of(
                "HW506", f"{where} holds no CA certificates in PEM: {error}", fix="export it again", file=self.file
            ) from None

    def _load_identity(self, context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
        with _in_memory(cert + b"\n" + key) as path:
            try:
                context.load_cert_chain(path, password=_no_password)
            except (ssl.SSLError, ValueError) as error:
                fix = "give PEM that belongs together, the key without a passphrase"
                message = f"the client certificate and key are of no use: {error}"
                raise HawseError.of("HW506", message, fix=fix, file=self.file) from None


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns) if found else None


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path to `data` that never was on a disk: `ssl` takes keys from files only, and the disk may be read-only.

    "" for no data.
    """
    if not data:
        yield ""
        return
    try:
        handle = os.memfd_create("hawse-client-key", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux, or forbidden by seccomp
        with tempfile.NamedTemporaryFile(prefix="hawse-") as file:
            file.write(data)
            file.flush()
            yield file.name
        return
    try:
        os.write(handle, data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def of(auth: Auth, env: Mapping[str, str] = os.environ) -> Access:
    """Find the server and our identity. Raises HawseError, which says what to set where."""
    if auth.auth_type == "kubeConfig":
        return _from_kubeconfig(kubeconfig.resolve(kubeconfig.load(auth.kube_config_path, env), auth.context))
    return _in_cluster(auth, env)


def _from_kubeconfig(resolved: kubeconfig.Resolved) -> Access:
    cluster, user = resolved.cluster, resolved.user

    def data(text: str | None, key: str) -> bytes:
        return credentials.decode_data(text, resolved.file, key) if text else b""

    trust = Trust(
        ca_file=cluster.certificate_authority or "",
        ca_pem=data(cluster.certificate_authority_data, "certificate-authority-data"),
        cert_file=user.client_certificate or "",
        cert_pem=data(user.client_certificate_data, "client-certificate-data"),
        key_file=user.client_key or "",
        key_pem=data(user.client_key_data, "client-key-data"),
        server_name=cluster.tls_server_name or "",
        insecure=bool(cluster.insecure_skip_tls_verify),
        file=resolved.file,
    )
    headers = {}
    if user.as_:
        headers["impersonate-user"] = user.as_
        if user.as_uid:
            headers["impersonate-uid"] = user.as_uid
        if user.as_groups:
            headers["impersonate-group"] = user.as_groups[0]
    origin = f"context {resolved.context_name!r} of {resolved.file}"
    return Access(cluster.server, credentials.from_user(resolved), trust=trust, headers=headers, origin=origin)


def _in_cluster(auth: Auth, env: Mapping[str, str]) -> Access:
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise HawseError.of(
            "HW501",
            "this is not inside a Kubernetes pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
            fix="set auth_type: kubeConfig (and kube_config_path)",
            path="auth_type",
        )
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    if auth.auth_type == "none":
        return Access(url, Fixed({}), trust=Trust(insecure=True), origin="auth_type: none")
    authority = SERVICE_ACCOUNT / "ca.crt"
    trust = Trust(ca_file=str(authority), file=str(authority))
    who = TokenFile(str(SERVICE_ACCOUNT / "token"))
    return Access(url, who, trust=trust, origin="the pod's service account")


def needs(auth: Auth, env: Mapping[str, str] = os.environ) -> Iterator[Need]:
    """What reaching the API server takes: one connection, and the files of our identity.

    For kubeConfig they are read out of the kubeconfig where it is at hand; where it is not, only its path is known.
    """
    if auth.auth_type != "kubeConfig":
        yield Connects("kubernetes.default.svc", 443, "tcp", _PURPOSE)
        if auth.auth_type == "serviceAccount":
            yield Reads(str(SERVICE_ACCOUNT / "token"), "service account token")
            yield Reads(str(SERVICE_ACCOUNT / "ca.crt"), "CA of the API server")
        return
    for path in kubeconfig.locate(auth.kube_config_path, env):
        yield Reads(path, "kubeconfig")
    try:
        resolved = kubeconfig.resolve(kubeconfig.load(auth.kube_config_path, env), auth.context)
    except HawseError:
        return
    parts = urlsplit(resolved.cluster.server)
    yield Connects(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), "tcp", _PURPOSE)
    user = resolved.user
    files = (resolved.cluster.certificate_authority, user.client_certificate, user.client_key, user.token_file)
    for file in files:
        if file:
            yield Reads(file, "credentials for the API server")
