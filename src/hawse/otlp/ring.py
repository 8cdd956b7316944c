"""Which of several members a trace belongs to, so that members come and go with little else changing.

The ring is that of OpenTelemetry's loadbalancing exporter, so that replicas of both send a trace to the same member:
36,000 positions; each member has 100 of them, the CRC-32 (IEEE) of its name and a byte from 0 to 99, modulo 36,000; a
key belongs to the member at the first position that is not before its own.
"""

import zlib
from bisect import bisect_left
from collections.abc import Iterable

_POSITIONS = 36_000
_POINTS = 100


class Ring:
    """Members by their names (`10.0.0.1:4317`). Immutable. `id` is the same for the same members."""

    __slots__ = ("_owners", "_positions", "id", "members")

    def __init__(self, members: Iterable[str]) -> None:
        self.members = tuple(sorted(set(members)))
        owners: dict[int, str] = {}
        for member in self.members:
            for number in range(_POINTS):
                # Where two want the same position, the first by name has it.
                owners.setdefault(zlib.crc32(member.encode() + bytes((number,))) % _POSITIONS, member)
        self._positions = sorted(owners)
        self._owners = [owners[position] for position in self._positions]
        self.id = ",".join(self.members)

    def member(self, key: bytes) -> str:
        """The member that a key (a trace ID, a service's name) belongs to; "" where there are none."""
        if not self._positions:
            return ""
        at = bisect_left(self._positions, zlib.crc32(key) % _POSITIONS)
        return self._owners[at % len(self._owners)]
