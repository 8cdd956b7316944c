"""Jaeger's batches, written plainly: Thrift's protocols as their specifications say, apart from the product's code.

Values are Python's: a struct is a list of (number, type, value) with the types below, a list is (type, values).
"""

import struct

BOOL, BYTE, DOUBLE, I16, I32, I64, STRING, STRUCT, MAP, SET, LIST = 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15
_COMPACT = {BOOL: 1, BYTE: 3, I16: 4, I32: 5, I64: 6, DOUBLE: 7, STRING: 8, LIST: 9, SET: 10, MAP: 11, STRUCT: 12}


class BinaryWriter:
    strict = True

    def value(self, kind, value):
        if kind == STRUCT:
            fields = (bytes([of]) + struct.pack(">h", number) + self.value(of, one) for number, of, one in value)
            return b"".join(fields) + b"\0"
        if kind in {LIST, SET}:
            of, values = value
            return bytes([of]) + struct.pack(">i", len(values)) + b"".join(self.value(of, one) for one in values)
        if kind == MAP:
            keys, values, pairs = value
            head = bytes([keys, values]) + struct.pack(">i", len(pairs))
            return head + b"".join(self.value(keys, k) + self.value(values, v) for k, v in pairs)
        if kind == STRING:
            return struct.pack(">i", len(value)) + value
        if kind == BOOL:
            return b"\1" if value else b"\0"
        return struct.pack({BYTE: ">b", DOUBLE: ">d", I16: ">h", I32: ">i", I64: ">q"}[kind], value)

    def message(self, name, kind, sequence, arguments):
        text = self.value(STRING, name)
        if self.strict:
            head = struct.pack(">I", 0x80010000 | kind) + text
        else:
            head = text + bytes([kind])
        return head + struct.pack(">i", sequence) + self.value(STRUCT, arguments)


class LooseWriter(BinaryWriter):
    strict = False


class CompactWriter:
    def varint(self, number):
        out = b""
        while number > 127:
            out += bytes([number & 127 | 128])
            number >>= 7
        return out + bytes([number])

    def zigzag(self, number):
        return self.varint(number * 2 if number >= 0 else -number * 2 - 1)

    def fields(self, fields):
        out, before = b"", 0
        for number, kind, value in fields:
            code = _COMPACT[kind] if kind != BOOL else 1 if value else 2
            if 0 < number - before < 16:
                out += bytes([(number - before) << 4 | code])
            else:
                out += bytes([code]) + self.zigzag(number)
            before = number
            if kind != BOOL:
                out += self.value(kind, value)
        return out + b"\0"

    def value(self, kind, value):
        if kind == STRUCT:
            return self.fields(value)
        if kind in {LIST, SET}:
            of, values = value
            code, size = _COMPACT[of], len(values)
            head = bytes([size << 4 | code]) if size < 15 else bytes([0xF0 | code]) + self.varint(size)
            return head + b"".join(self.value(of, one) for one in values)
        if kind == MAP:
            keys, values, pairs = value
            if not pairs:
                return b"\0"
            head = self.varint(len(pairs)) + bytes([_COMPACT[keys] << 4 | _COMPACT[values]])
            return head + b"".join(self.value(keys, k) + self.value(values, v) for k, v in pairs)
        if kind == STRING:
            return self.varint(len(value)) + value
        if kind == BOOL:
            return b"\1" if value else b"\2"
        if kind == BYTE:
            return struct.pack("b", value)
        return struct.pack("<d", value) if kind == DOUBLE else self.zigzag(value)

    def message(self, name, kind, sequence, arguments):
        head = b"\x82" + bytes([1 | kind << 5]) + self.varint(sequence)
        return head + self.value(STRING, name) + self.fields(arguments)


def tag(key, value, *, kind=None, swapped=False):
    """A Tag. `swapped` writes the type before the key, as no client does."""
    if isinstance(value, bool):
        of, field = 2, (5, BOOL, value)
    elif isinstance(value, int):
        of, field = 3, (6, I64, value)
    elif isinstance(value, float):
        of, field = 1, (4, DOUBLE, value)
    elif isinstance(value, bytes):
        of, field = 4, (7, STRING, value)
    else:
        of, field = 0, (3, STRING, value.encode("utf-8", "surrogatepass"))
    fields = [(1, STRING, key.encode()), (2, I32, of if kind is None else kind), field]
    return [fields[1], fields[0], fields[2]] if swapped else fields


def log(time, fields):
    return [(1, I64, time), (2, LIST, (STRUCT, fields))]


def reference(kind, high, low, span):
    return [(1, I32, kind), (2, I64, low), (3, I64, high), (4, I64, span)]


def span(
    low=1, high=0, id_=2, parent=0, name="op", flags=1, start=1_700_000_000_000_000, duration=5, *, references=None,
    tags=None, logs=None,
):  # fmt: skip
    fields = [(1, I64, low), (2, I64, high), (3, I64, id_), (4, I64, parent), (5, STRING, name.encode())]
    if references is not None:
        fields.append((6, LIST, (STRUCT, references)))
    fields += [(7, I32, flags), (8, I64, start), (9, I64, duration)]
    if tags is not None:
        fields.append((10, LIST, (STRUCT, tags)))
    if logs is not None:
        fields.append((11, LIST, (STRUCT, logs)))
    return fields


def process(service="shop", tags=None):
    fields = [(1, STRING, service.encode())]
    return fields if tags is None else [*fields, (2, LIST, (STRUCT, tags))]


def batch(spans, of=None):
    return [(1, STRUCT, process() if of is None else of), (2, LIST, (STRUCT, spans))]


def emit(writer, spans, of=None, *, kind=4, name=b"emitBatch"):
    return writer.message(name, kind, 7, [(1, STRUCT, batch(spans, of))])
