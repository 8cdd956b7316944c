"""Randomness, thresholds, and where they are written: OpenTelemetry's consistent probability sampling.

Sources: specification/trace/tracestate-probability-sampling.md and W3C Trace Context Level 2 (randomness of trace ids).
A threshold T and randomness R have 56 bits; an item is kept where R ≥ T. In text both are hexadecimal, a threshold
without trailing zeros.
"""

_BITS = 56
MOST = 1 << _BITS
ALWAYS, NEVER = 0, MOST
_OT = "ot"
_HEX = frozenset("0123456789abcdef")


def fnv1a_64(data: bytes, state: int = 0xCBF2_9CE4_8422_2325) -> int:
    """FNV-1a of 64 bits; `state` is that of what was hashed before."""
    for byte in data:
        state = ((state ^ byte) * 0x0000_0100_0000_01B3) & 0xFFFF_FFFF_FFFF_FFFF
    return state


def fnv1a_32(data: bytes, state: int = 0x811C_9DC5) -> int:
    """FNV-1a of 32 bits."""
    for byte in data:
        state = ((state ^ byte) * 0x0100_0193) & 0xFFFF_FFFF
    return state


def threshold(probability: float, precision: int) -> int:
    """The threshold for a probability (0…1), with so many hexadecimal digits behind the zeros that it begins with."""
    if probability >= 1:
        return ALWAYS
    if probability * MOST < 1:
        return NEVER
    rejected = 1 - probability
    digits = precision
    while rejected * 16 < 1 and digits < 14:
        rejected *= 16
        digits += 1
    exact = MOST - round(probability * MOST)
    shift = 4 * (14 - min(digits, 14))
    if shift:
        exact = (exact + (1 << (shift - 1))) >> shift << shift
    return min(exact, MOST - 1)


def probability(found: int) -> float:
    """What a threshold keeps."""
    return (MOST - found) / MOST


def written(found: int) -> str:
    """A threshold as text (`th`)."""
    return f"{found:014x}".rstrip("0") or "0"


def randomness_of(trace_id: bytes) -> int | None:
    """The last 7 bytes of a trace id; None of one that is not there."""
    if len(trace_id) != 16 or not any(trace_id):
        return None
    return int.from_bytes(trace_id[9:], "big")


def read_threshold(text: str) -> int | None:
    """What `th` says; None where it is nothing of the kind."""
    if not 1 <= len(text) <= 14 or not _HEX.issuperset(text):
        return None
    return int(text.ljust(14, "0"), 16)


def read_randomness(text: str) -> int | None:
    """What `rv` says; None where it is nothing of the kind."""
    return int(text, 16) if len(text) == 14 and _HEX.issuperset(text) else None


class TraceState:
    """A W3C tracestate, of which OpenTelemetry's `th` and `rv` (in the entry `ot`) can be read and set."""

    __slots__ = ("_entries", "_more", "rv", "th")

    def __init__(self, text: str = "") -> None:
        """Raises ValueError where `th` or `rv` are there, and are neither a threshold nor randomness."""
        self.th: int | None = None
        self.rv: int | None = None
        self._more: list[str] = []  # what else is in `ot`
        self._entries: list[str] = []  # of others
        for entry in filter(None, (one.strip() for one in text.split(","))):
            key, _, value = entry.partition("=")
            if key == _OT:
                self._read(value)
            else:
                self._entries.append(entry)

    def _read(self, value: str) -> None:
        for part in filter(None, value.split(";")):
            key, _, inner = part.partition(":")
            if key == "th":
                self.th = read_threshold(inner)
            elif key == "rv":
                self.rv = read_randomness(inner)
            else:
                self._more.append(part)
            if (key == "th" and self.th is None) or (key == "rv" and self.rv is None):
                raise ValueError(f"no {key}: {inner!r}")

    def __str__(self) -> str:
        parts = [] if self.th is None else [f"th:{written(self.th)}"]
        parts += [] if self.rv is None else [f"rv:{self.rv:014x}"]
        parts += self._more
        return ",".join([*([f"{_OT}={';'.join(parts)}"] if parts else []), *self._entries])
