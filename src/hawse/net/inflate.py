"""gzip undone while it comes (RFC 1952), for bodies of which only the beginning may be trusted to be worth reading."""

from collections.abc import Iterator

from isal import isal_zlib

from hawse.net.compression import Malformed, TooLarge, _GzipError
from hawse.wire import Buffer

_STEP = 256 << 10  # bytes of output at once: a fraction of a millisecond
_SLICE = 32 << 10
_MEMBERS = 4096  # each costs us more than its bytes cost the sender


class Inflater:
    """Takes a compressed body piece by piece and gives what is in it, in pieces of at most 256 KiB.

    A body may have several members in a row (RFC 1952, 2.2). A piece that is not asked for is not decompressed.
    """

    def __init__(self, limit: int) -> None:
        """Over `limit` bytes of output are TooLarge."""
        self._limit = limit
        self._left = limit + 1  # one more, to tell full from too much
        self._members = 0
        self._stream: isal_zlib.Decompress | None = None

    def feed(self, data: Buffer) -> Iterator[bytes]:
        """What a piece of the body adds. Raises TooLarge or Malformed."""
        # What is left over behind a member is copied: that of a slice, not all the rest for each of many.
        for at in range(0, len(data), _SLICE):
            yield from self._fed(data[at : at + _SLICE])

    def _fed(self, data: Buffer) -> Iterator[bytes]:
        while data:
            stream = self._stream or self._member()
            fed: Buffer = stream.unconsumed_tail + bytes(data) if stream.unconsumed_tail else data
            yield from self._drained(stream, fed)
            data = stream.unused_data if stream.eof else b""
            if stream.eof:
                self._stream = None

    def finish(self) -> None:
        """The body has ended. Raises Malformed where the compressed data has not."""
        if self._stream is not None or not self._members:
            raise Malformed("the compressed body is cut off")

    def _member(self) -> "isal_zlib.Decompress":
        self._members += 1
        if self._members > _MEMBERS:
            raise Malformed(f"the body has more than {_MEMBERS} gzip members")
        self._stream = isal_zlib.decompressobj(31)
        return self._stream

    def _drained(self, stream: "isal_zlib.Decompress", fed: Buffer) -> Iterator[bytes]:
        while True:
            try:
                piece = stream.decompress(fed, min(self._left, _STEP))
            except _GzipError as error:
                raise Malformed(f"the body is no valid gzip data: {error}") from None
            self._left -= len(piece)
            if self._left == 0:
                raise TooLarge(f"decompressed, the body has over {self._limit} bytes", "body_size_limit")
            if piece:
                yield piece
            fed = stream.unconsumed_tail
            if stream.eof or (not fed and len(piece) < _STEP):
                return
