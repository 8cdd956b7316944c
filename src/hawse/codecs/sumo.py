"""What a Sumo Logic HTTP source takes: lines of log and the headers that say where they come from.

Formats are those of the Sumo Logic exporter of the OpenTelemetry Collector (`text`, `json`), those of the collection
chart (`fields`, `json_merge`), and its limits: a request has lines of one source only, joined by line feeds.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hawse.batch import AttributeValue, Group
from hawse.codecs.otlp_records import as_text, bodies, plain_bodies, timed
from hawse.component import Section

LogFormat = Literal["fields", "json", "json_merge", "text"]

_SOURCE_HEADERS = {"X-Sumo-Host": "_sourceHost", "X-Sumo-Name": "_sourceName", "X-Sumo-Category": "_sourceCategory"}
_SOURCE_KEYS = frozenset(_SOURCE_HEADERS.values())
_CLEAN = str.maketrans({",": "_", "\n": "_", "=": ":"})
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_values = msgspec.json.Decoder(dict[str, Any]).decode


class JsonLogs(Section, frozen=True):
    """How a record becomes a JSON line."""

    log_key: Annotated[str, Meta(min_length=1, description="Key of the body.")] = "log"
    add_timestamp: Annotated[bool, Meta(description="Add the record's time, unless it has such an attribute.")] = True
    timestamp_key: Annotated[str, Meta(min_length=1, description="Key of the time, in Unix milliseconds.")] = (
        "timestamp"
    )


def source_headers(attributes: Mapping[str, AttributeValue]) -> dict[str, str]:
    """The headers that resource attributes become: host, name, category, and `X-Sumo-Fields` for the others."""
    headers = {header: as_text(attributes[key]) for header, key in _SOURCE_HEADERS.items() if key in attributes}
    fields = fields_header(attributes)
    if fields:
        headers["X-Sumo-Fields"] = fields
    return headers


def fields_header(attributes: Mapping[str, AttributeValue]) -> str:
    """`key=value` pairs, sorted, joined by ", "; without those that have a header of their own and without empty ones.

    What would break the list is replaced: commas and line feeds by "_", equals signs by ":".
    """
    texts = ((key, as_text(value)) for key, value in attributes.items() if key not in _SOURCE_KEYS)
    pairs = [f"{key.translate(_CLEAN)}={text.translate(_CLEAN)}" for key, text in texts if text]
    return ", ".join(sorted(pairs))


def lines(group: Group, form: LogFormat, json: JsonLogs) -> list[bytes]:
    """A line for each record of a group, in order. Raises WireError where the group is malformed.

    `text` is the body alone. `fields` is that, too, but a record with attributes of its own becomes a JSON line, as
    Sumo Logic's OTLP source shows such records. `json` always is a JSON line. `json_merge` puts what is in a body
    that is a JSON object beside the attributes. A body of several lines stays so in `text` and `fields`.
    """
    if form == "text":
        return bodies(group)
    if form == "fields":
        plain = plain_bodies(group)
        return [_field_line(record, json) for record in timed(group)] if plain is None else plain
    make = _merged_line if form == "json_merge" else _json_line
    return [make(record, json) for record in timed(group)]


Record = tuple[int, AttributeValue, dict[str, AttributeValue]]


def _field_line(record: Record, json: JsonLogs) -> bytes:
    return _json_line(record, json) if record[2] else as_text(record[1]).encode()


def _json_line(record: Record, json: JsonLogs) -> bytes:
    time, body, attributes = record
    line: dict[str, AttributeValue] = {}
    if time and json.add_timestamp:
        line[json.timestamp_key] = time // 1_000_000
    line.update(attributes)
    if body not in (None, "", b"", [], {}):
        line[json.log_key] = body
    return _encode(line)


def _merged_line(record: Record, json: JsonLogs) -> bytes:
    """The body's keys count before attributes of the same name, these before the time."""
    time, body, attributes = record
    merged = body if isinstance(body, dict) else _json_object(body)
    if merged is None:
        return _json_line(record, json)
    line: dict[str, Any] = {}
    if time and json.add_timestamp:
        line[json.timestamp_key] = time // 1_000_000
    return _encode({**line, **attributes, **merged})


def _json_object(body: AttributeValue) -> Mapping[str, Any] | None:
    """A text body's JSON object, None where it is none. Its values stay as they are written (1.10, 1e400)."""
    if not isinstance(body, str) or not body.lstrip().startswith("{"):
        return None
    try:
        # As written, a value may hold line feeds, which would end the line; then its spelling is not kept.
        return _decode_values(body) if "\n" in body or "\r" in body else _decode_object(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def requests(lines_: list[bytes], most: int) -> Iterator[tuple[bytes, int]]:
    """Bodies of requests of at most `most` bytes, and how many records each has. A longer line gets one of its own."""
    if sum(map(len, lines_)) + len(lines_) - 1 <= most:
        yield b"\n".join(lines_), len(lines_)
        return
    start = size = 0
    for at, line in enumerate(lines_):
        added = len(line) + 1
        if at > start and size + added - 1 > most:
            yield b"\n".join(lines_[start:at]), at - start
            start, size = at, 0
        size += added
    yield b"\n".join(lines_[start:]), len(lines_) - start
