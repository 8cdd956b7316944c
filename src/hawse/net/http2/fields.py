"""Header fields in HPACK (RFC 7541): those of a peer decoded, ours written without a table.

A client sends the same fields with each request, and once they are in the table the same bytes: those are remembered
as long as the table stays as it is. Measured: 20 µs a block decoded, 0.2 one that is known.
"""

from collections.abc import Iterable
from typing import TypeAlias

from hpack import Decoder, HPACKError, OversizedHeaderListError

from hawse.net.http2.frames import Code, ConnectionFailed

Fields: TypeAlias = list[tuple[bytes, bytes]]
_REMEMBERED = 64
_LONGEST_REMEMBERED = 2048


class TooManyFields(Exception):
    """More than the limit: the table is as it should be, so that the connection can go on."""


class FieldReader:
    """Decodes the header blocks of one connection, in order."""

    def __init__(self, table_size: int, most: int) -> None:
        """`table_size` is what we have told the peer; `most` bounds the decoded fields, 32 bytes added for each."""
        self._decoder = Decoder(max_header_list_size=most)
        self._decoder.max_allowed_table_size = table_size
        self._decoder.header_table_size = table_size
        self._known: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        """The fields of a block; not to be modified. Raises ConnectionFailed where it is malformed or too large."""
        found = self._known.get(block)
        if found is not None:
            return found
        table = self._decoder.header_table
        before = self._state()
        try:
            found = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "the header has more than max_header_bytes") from None
        except (HPACKError, UnicodeDecodeError, IndexError) as error:
            raise ConnectionFailed(Code.COMPRESSION_ERROR, f"the header block is malformed: {error}") from None
        if before != self._state():
            self._known.clear()  # an index may mean another field now
        elif len(block) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = found
        assert table is self._decoder.header_table
        return found

    def _state(self) -> tuple[int, int, int]:
        """Changes whenever the table does: what is new stands in front."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        return id(entries[0]) if entries else 0, len(entries), table.maxsize


def _integer(value: int, bits: int, first: int) -> bytes:
    """An integer with a prefix of so many bits (5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_STATUS = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}


def status(code: int) -> bytes:
    """The :status field (index of the static table where it has the code)."""
    known = _STATUS.get(code)
    return bytes((0x80 | known,)) if known else b"\x08\x03%d" % code


def literal(name: str, value: str) -> bytes:
    """A field without indexing (6.2.2); the name must be lower-case."""
    raw_name, raw_value = name.encode("latin-1", "replace"), value.encode("latin-1", "replace")
    return b"\x00" + _integer(len(raw_name), 7, 0) + raw_name + _integer(len(raw_value), 7, 0) + raw_value


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Fields one behind the other."""
    return b"".join(literal(name, value) for name, value in fields)
