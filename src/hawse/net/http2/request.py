"""From header fields to a request (RFC 9113, section 8.3)."""

from typing import NamedTuple

from hawse.net import grpc
from hawse.net.head import Incoming, no_room, read_head
from hawse.net.http import MALFORMED, HttpError
from hawse.net.http2.fields import Fields
from hawse.net.http2.frames import Code, StreamFailed
from hawse.net.routes import Routes

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_FORBIDDEN = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Head(NamedTuple):
    """A request's head."""

    incoming: Incoming
    is_grpc: bool
    timeout: float | None


def read(stream: int, fields: Fields, routes: Routes, peer: str, *, ended: bool, most: int) -> Head:
    """The request of a header block. Raises StreamFailed where it is malformed, HttpError where it is not served.

    `ended`: no body follows. `most` bounds the number of fields.
    """
    if len(fields) > most:
        raise HttpError(431, f"more than {most} header fields", limit="max_header_count")
    pseudo: dict[bytes, bytes] = {}
    plain: Fields = []
    for name, value in fields:
        if name[:1] == b":":
            if plain or name in pseudo or name not in _PSEUDO:
                raise StreamFailed(stream, Code.PROTOCOL_ERROR)
            pseudo[name] = value
        elif name in _FORBIDDEN or name != name.lower():
            raise StreamFailed(stream, Code.PROTOCOL_ERROR)
        elif name != b"host" or b":authority" not in pseudo:
            plain.append((name, value))
    try:
        method, target = pseudo[b":method"].decode("ascii"), pseudo[b":path"]
    except (KeyError, UnicodeDecodeError):
        raise StreamFailed(stream, Code.PROTOCOL_ERROR) from None
    if b":authority" in pseudo:
        plain.append((b"host", pseudo[b":authority"]))
    found = dict(plain)
    is_grpc = method == "POST" and found.get(b"content-type", b"").startswith(b"application/grpc")
    if not found.get(b"content-length", b"0").isdigit():
        raise StreamFailed(stream, Code.PROTOCOL_ERROR)
    incoming = read_head(grpc.METHOD if is_grpc else method, "1.1", target, plain, routes, peer)
    incoming.close = False
    if b"content-length" not in found:
        incoming.length = 0 if ended else None
    if not is_grpc:
        return Head(incoming, is_grpc=False, timeout=None)
    encoding = found.get(b"grpc-encoding", b"identity").decode("latin-1").lower()
    if encoding not in grpc.ENCODINGS:
        raise HttpError(
            415, f"grpc-encoding {encoding[:50]!r} is not understood; use one of {', '.join(grpc.ENCODINGS)}"
        )
    incoming.encoding = "" if encoding == "identity" else encoding
    timeout = found.get(b"grpc-timeout")
    seconds = grpc.timeout(timeout.decode("latin-1")) if timeout is not None else None
    if timeout is not None and seconds is None:
        raise HttpError(400, f"grpc-timeout {timeout[:20]!r} is no duration", limit=MALFORMED)
    return Head(incoming, is_grpc=True, timeout=seconds)


__all__ = ["Head", "Incoming", "no_room", "read"]
