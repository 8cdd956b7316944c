"""Credentials of clients that came out of files, where they are renewed: read again when a server refuses them."""

from collections.abc import Mapping, Sequence

from hawse.net.settings import TLSClient
from hawse.values import Secret


def reread(headers: Mapping[str, Secret]) -> tuple[dict[str, Secret], list[str]]:
    """Headers as their files have them now, and the keys of those that are different."""
    fresh = {name: value.reread() for name, value in headers.items()}
    return fresh, [f"headers.{name}" for name, value in fresh.items() if value != headers[name]]


def told(changed: Sequence[str], headers: Mapping[str, Secret], tls: TLSClient) -> str:
    """What came of reading again, as the end of a message about refused credentials."""
    if changed:
        return f"{', '.join(changed)} read again, and changed: using that"
    files = [f"headers.{name}" for name, value in headers.items() if hasattr(value, "again")]
    files += ["tls.cert_file"] if tls.cert_file else []
    if files:
        return f"{', '.join(files)} read again, and still the same: renew it there"
    return "correct the credentials in the configuration (from a file, as ${file:…}, they are read again)"
