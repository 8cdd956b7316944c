"""Who we are to the API server: what goes into `authorization`, and where it is renewed.

Each kind answers `headers()` before a request, and `expire()` after a 401: true if asking again may help.
"""

import asyncio
import base64
import binascii
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from hawse.diagnostics import HawseError
from hawse.kube.kubeconfig import Cluster, Resolved

EXEC_TIMEOUT = 60.0  # seconds that an exec plugin may take: some ask a cloud over a slow line
_EARLY = timedelta(seconds=10)  # a token is renewed this long before it expires


class Credentials(Protocol):
    """A way to prove who we are."""

    async def headers(self) -> Mapping[str, str]:
        """Headers to add to a request. Raises HawseError where a file or program does not give what it should."""

    def expire(self) -> bool:
        """The server said 401: forget what is cached. True if the next `headers()` may differ."""

    @property
    def certificate(self) -> tuple[bytes, bytes] | None:
        """A client certificate and key (PEM) that came with the last `headers()`, where there is one."""


class Fixed:
    """Nothing, a token from the kubeconfig, or a user name and password."""

    certificate: tuple[bytes, bytes] | None = None

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def headers(self) -> Mapping[str, str]:
        return self._headers

    def expire(self) -> bool:
        return False


class TokenFile:
    """A token in a file that is rotated under us, as kubelet does with projected tokens.

    It is read for each request: requests are few (a list now and then, a watch every five minutes).
    """

    certificate: tuple[bytes, bytes] | None = None

    def __init__(self, path: str) -> None:
        self.path = path

    async def headers(self) -> Mapping[str, str]:
        try:
            token = Path(self.path).read_text("ascii").strip()
        except FileNotFoundError:
            fix = "mount it (automountServiceAccountToken: true), or use auth_type: kubeConfig outside a cluster"
            raise HawseError.of("HW504", "the token file does not exist", fix=fix, file=self.path) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            fix = "check its mode and owner; with fsGroup, kubelet makes it readable"
            raise HawseError.of("HW504", f"cannot read the token: {reason}", fix=fix, file=self.path) from None
        if not token:
            raise HawseError.of("HW504", "the token file is empty", fix="write a token to it", file=self.path)
        return {"authorization": f"Bearer {token}"}

    def expire(self) -> bool:
        return True


class ExecStatus(msgspec.Struct, rename="camel"):
    """`status` of an ExecCredential."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class ExecCredential(msgspec.Struct, rename="camel"):
    """What an exec plugin prints (client.authentication.k8s.io/v1 and v1beta1)."""

    api_version: str = ""
    kind: str = ""
    status: ExecStatus | None = None


class ExecPlugin:
    """A program that prints an ExecCredential; run when there is none, it has expired, or the server said 401."""

    def __init__(self, resolved: Resolved) -> None:
        assert resolved.user.exec is not None
        self._exec = resolved.user.exec
        self._file = resolved.file
        self._cluster = resolved.cluster
        self._status: ExecStatus | None = None
        self._lock = asyncio.Lock()
        self.runs = 0
        if self._exec.api_version not in _EXEC_VERSIONS:
            message = f"exec apiVersion {self._exec.api_version!r} is not supported"
            raise HawseError.of("HW505", message, fix=f"use {_EXEC_VERSIONS[0]}", file=self._file)

    async def headers(self) -> Mapping[str, str]:
        async with self._lock:
            if self._status is None or _expired(self._status):
                self._status = await self._run()
        return {"authorization": f"Bearer {self._status.token}"} if self._status.token else {}

    def expire(self) -> bool:
        had, self._status = self._status, None
        return had is not None

    @property
    def certificate(self) -> tuple[bytes, bytes] | None:
        status = self._status
        if status is None or not status.client_certificate_data or not status.client_key_data:
            return None
        return status.client_certificate_data.encode(), status.client_key_data.encode()

    def _environment(self) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": False}
        if self._exec.provide_cluster_info:
            spec["cluster"] = _cluster_info(self._cluster)
        info = {"apiVersion": self._exec.api_version, "kind": "ExecCredential", "spec": spec}
        added = {item.name: item.value for item in self._exec.env or ()}
        return {**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(info)}

    async def _run(self) -> ExecStatus:
        self.runs += 1
        try:
            process = await asyncio.create_subprocess_exec(
                self._exec.command,
                *(self._exec.args or ()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(),
            )
        except OSError as error:
            hint = (self._exec.install_hint or "").strip()
            fix = hint or "install it, or write its full path in the kubeconfig"
            raise self._error(f"cannot be run: {error.strerror}", fix) from None
        try:
            async with asyncio.timeout(EXEC_TIMEOUT):
                out, err = await process.communicate()
        except TimeoutError:
            fix = "run it by hand to see what it waits for"
            raise self._error(f"gave no answer in {EXEC_TIMEOUT:g} seconds", fix) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = err.decode("utf-8", "replace").strip()[-500:] or "it said nothing"
            raise self._error(f"failed with code {process.returncode}: {said}", "run it by hand until it works")
        return self._parse(out)

    def _parse(self, out: bytes) -> ExecStatus:
        try:
            made = msgspec.json.decode(out, type=ExecCredential)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._error(f"printed no ExecCredential: {error}", "run it by hand to see its output") from None
        if made.api_version != self._exec.api_version:
            message = f"answered in {made.api_version!r}, not {self._exec.api_version!r}"
            raise self._error(message, "write the plugin's own version as apiVersion in the kubeconfig")
        status = made.status
        if status is None or not (status.token or (status.client_certificate_data and status.client_key_data)):
            raise self._error("printed neither token nor client certificate", "log in again with the plugin's tool")
        return status

    def _error(self, message: str, fix: str) -> HawseError:
        return HawseError.of("HW504", f"exec plugin {self._exec.command!r} {message}", fix=fix, file=self._file)


_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def _expired(status: ExecStatus) -> bool:
    when = status.expiration_timestamp
    if when is None:
        return False
    return datetime.now(UTC) >= (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EARLY


def _cluster_info(cluster: Cluster) -> dict[str, Any]:
    """`spec.cluster` of KUBERNETES_EXEC_INFO."""
    authority = cluster.certificate_authority_data
    if not authority and cluster.certificate_authority:
        authority = base64.b64encode(Path(cluster.certificate_authority).read_bytes()).decode()
    info = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": authority,
    }
    return {key: value for key, value in info.items() if value}


def from_user(resolved: Resolved) -> Credentials:
    """The credentials of a kubeconfig user, in kubectl's order: exec, token file, token, basic, none."""
    user = resolved.user
    if user.exec:
        return ExecPlugin(resolved)
    if user.token_file:
        return TokenFile(user.token_file)
    if user.token:
        return Fixed({"authorization": f"Bearer {user.token}"})
    if user.username:
        pair = f"{user.username}:{user.password or ''}".encode()
        return Fixed({"authorization": "Basic " + base64.b64encode(pair).decode()})
    return Fixed({})


def decode_data(text: str, file: str, key: str) -> bytes:
    """The bytes of a `…-data` value. Raises HawseError where it is no base64."""
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        raise HawseError.of("HW506", f"{key} is no base64", fix="export the kubeconfig again", file=file) from None
