"""Whose series a request has: what is kept beside requests that were made of several resources."""

from collections.abc import Sequence

import msgspec

from hawse.wire import WireError


class Share(msgspec.Struct, array_like=True):
    """How many of a request's series, one after the other, came from a resource, and how many points they were.

    `resource` are the bytes of its message. Where a request has lines, `series` are these.
    """

    resource: bytes
    points: int
    series: int


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Share]).decode


def packed(shares: Sequence[Share]) -> bytes:
    """As `Request.resource` keeps them."""
    return _pack(shares)


def unpacked(data: bytes) -> list[Share]:
    """Back again. Raises WireError where it is not what `packed` makes."""
    try:
        return _unpack(data)
    except msgspec.MsgspecError as error:
        raise WireError(f"not what was kept: {error}") from None


def divided(shares: Sequence[Share], middle: int) -> tuple[list[Share], list[Share]]:
    """The shares of the first `middle` series, and those of the rest.

    The points of a resource that is in both are divided as its series are.
    """
    first: list[Share] = []
    second: list[Share] = []
    for share in shares:
        if share.series <= middle:
            first.append(share)
        elif middle <= 0:
            second.append(share)
        else:
            points = min(share.points, round(share.points * middle / share.series))
            first.append(Share(share.resource, points, middle))
            second.append(Share(share.resource, share.points - points, share.series - middle))
        middle -= share.series
    return first, second


def points(shares: Sequence[Share]) -> int:
    """Points of all."""
    return sum(share.points for share in shares)
