"""A watch's body, cut into its lines: one JSON object each, however the network cut it."""

from hawse.kube.errors import ApiError

LONGEST_LINE = 16 << 20  # bytes: an object is at most 1.5 MiB in etcd, and JSON writes it longer


class Lines:
    """Takes pieces and gives whole lines. Raises ApiError for a line longer than `longest`."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole now, without their ends and without empty ones."""
        if b"\n" not in piece:
            self._keep(piece)
            return []
        first, *lines = piece.split(b"\n")
        first = b"".join((*self._rest, first))
        self._rest, self._size = [], 0
        self._keep(lines.pop())
        return [line for line in (first, *lines) if line.strip()]

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
        if self._size > self._longest:
            raise ApiError(f"a watch event is longer than {self._longest} bytes", "is that the API server?")
