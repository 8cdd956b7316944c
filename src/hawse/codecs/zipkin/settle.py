"""What the tags that are more than attributes say of a span: kind, scope, status, links, trace state, dropped counts.

`settle` uses up what it understands; the rest goes back among the attributes, so that no tag is lost.
"""

import re
from typing import NamedTuple, TypeAlias

from hawse.batch import AttributeValue
from hawse.codecs.span_writer import CLIENT, CONSUMER, ERROR, INTERNAL, OK, PRODUCER, SERVER, UNSET, encoded_status
from hawse.codecs.span_writer import link as write_link
from hawse.codecs.zipkin.events import attributes_of
from hawse.codecs.zipkin.tags import DROPPED, LINK, SCOPES, text
from hawse.wire import field, varint

Special: TypeAlias = dict[str, tuple[AttributeValue, bytes]]  # key → value, and its encoded attribute
Scope: TypeAlias = tuple[str, str]
NO_SCOPE: Scope = ("", "")
_KINDS = {"internal": INTERNAL, "server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER}
_STATUS = {"OK": OK, "ERROR": ERROR, "UNSET": UNSET, "1": OK, "2": ERROR, "0": UNSET}
_MOST_LINKS = 128
_NUMBER = re.compile("-?[0-9]{1,10}")
_ID = re.compile("[0-9a-fA-F]*")


class Told(NamedTuple):
    """Scope, kind, and the fields of a Span that are encoded already."""

    scope: Scope
    kind: int
    fields: bytes


def settle(kind: int, special: Special, plain: dict[str, bytes], *, version_1: bool) -> Told:
    """Read `special`; put what stays an attribute into `plain`."""
    fields = []
    if not kind and "span.kind" in special:
        kind = _KINDS.get(text(special["span.kind"][0]).lower(), 0)
    if kind:
        special.pop("span.kind", None)
    if "w3c.tracestate" in special:
        fields.append(field(3, text(special.pop("w3c.tracestate")[0]).encode("utf-8", "replace")))
    scope = _scope(special)
    fields += _links(special)
    fields += _dropped(special)
    fields.append(_status(special, version_1=version_1))
    for key, (_, encoded) in special.items():
        plain[key] = encoded
    return Told(scope, kind, b"".join(fields))


def _scope(special: Special) -> Scope:
    for name_key, version_key in SCOPES:
        if name_key in special:
            found = text(special.pop(name_key)[0]), text(special.pop(version_key, ("", b""))[0])
            for other in (one for pair in SCOPES for one in pair):  # exporters write both, for old backends
                special.pop(other, None)
            return found
    return NO_SCOPE


def _dropped(special: Special) -> list[bytes]:
    found = []
    for key, tag in DROPPED.items():
        count = _integer(special[key][0]) if key in special else None
        if count is not None and 0 <= count < 1 << 32:
            del special[key]
            found.append(tag + varint(count))
    return found


def _links(special: Special) -> list[bytes]:
    """Tags `otlp.link.0`, …: trace id, span id, trace state, attributes in JSON, how many of them were dropped."""
    found = []
    for index in range(_MOST_LINKS):
        key = f"{LINK}{index}"
        if key not in special:
            break
        made = _link(text(special[key][0]))
        if made is not None:
            del special[key]
            found.append(field(13, made))
    return found


def _link(told: str) -> bytes | None:
    head, _, dropped = told.rpartition("|")
    parts = head.split("|", 3)
    if len(parts) != 4 or not dropped.isdecimal() or len(dropped) > 9:
        return None
    trace_id, span_id, state, attributes = parts
    trace_id, span_id = trace_id.strip('"'), span_id.strip('"')
    if len(trace_id) != 32 or len(span_id) != 16 or not _ID.fullmatch(trace_id + span_id):
        return None
    read = attributes_of(attributes)
    if read is None:
        return None
    count = b"\x28" + varint(int(dropped)) if int(dropped) else b""
    return write_link(bytes.fromhex(trace_id), bytes.fromhex(span_id), read, state) + count


def _status(special: Special, *, version_1: bool) -> bytes:
    """The status as a field: OpenCensus' own tags count first, then OpenTelemetry's, `error`, and that of HTTP."""
    described = special.pop("otel.status_description", None)
    census = [special.pop(f"{name}.status_description", None) for name in ("census", "opencensus")]
    message = next((text(one[0]) for one in (described, *census) if one is not None), "")
    code = _told(special)
    failed, failure = _failure(special, known=code is not None)
    if code is None and failed:
        code = ERROR
    if code == ERROR and not message:
        message = failure
    if code is None and version_1 and "http.status_code" in special:
        code = _of_http(special["http.status_code"][0])
        message = message or (text(special.get("http.status_message", ("",))[0]) if code else "")
    if code is None:
        return field(15, encoded_status(UNSET, message)) if message else b""
    return field(15, encoded_status(code, message))


def _told(special: Special) -> int | None:
    """The code that OpenCensus' or OpenTelemetry's exporters have written; None where there is none."""
    code = None
    if "otel.status_code" in special:
        code = _STATUS.get(text(special["otel.status_code"][0]).upper().removeprefix("STATUS_CODE_"))
        if code is not None:
            del special["otel.status_code"]
    if "census.status_code" in special:
        number = _integer(special["census.status_code"][0])  # of gRPC: 0 is OK
        if number is not None:
            del special["census.status_code"]
            code = ERROR if number else OK
    return code


def _failure(special: Special, *, known: bool) -> tuple[bool, str]:
    """Whether the tag `error` says that the span failed, and how.

    Zipkin: whatever it says, but for "false". It stays an attribute where it says something, unless OpenTelemetry's
    status is there, whose description it is.
    """
    if "error" not in special:
        return False, ""
    told = text(special["error"][0])
    if told == "false":
        return False, ""
    if known or told in {"", "true"}:
        del special["error"]
    return True, "" if told == "true" else told


def _of_http(value: AttributeValue) -> int | None:
    number = _integer(value)
    return None if number is None or 100 <= number < 400 else ERROR


def _integer(value: AttributeValue) -> int | None:
    told = text(value)
    return int(told) if _NUMBER.fullmatch(told) else None
