"""The entry to all encodings."""

from collections.abc import Generator

from hawse.batch import Group
from hawse.codecs.zipkin import json_v1, json_v2, proto, thrift
from hawse.codecs.zipkin.limits import Limits
from hawse.codecs.zipkin.spans import Conventions, Known


class Translator:
    """Is kept: it remembers what tags, endpoints and resources become.

    Each method is a generator, which yields now and then for others to run, and returns the groups of a body. It
    raises WireError, which names the place, or TooMany. With `debug` all spans are debug, as `X-B3-Flags: 1` asks.
    """

    def __init__(
        self, limits: Limits | None = None, *, parse_string_tags: bool = False, conventions: Conventions = "v0"
    ) -> None:
        """`parse_string_tags` makes numbers and booleans of texts that look like them."""
        self._limits = limits or Limits()
        self._known = Known(parse_string_tags=parse_string_tags, conventions=conventions)
        self._proto_tags = proto.ProtoTags()

    def json_v1(self, data: bytes, *, debug: bool = False) -> Generator[None, None, list[Group]]:
        """Version 1 in JSON."""
        return (yield from (yield from json_v1.read(data, self._limits, self._known, debug=debug)).groups())

    def thrift_v1(self, data: bytes, *, debug: bool = False) -> Generator[None, None, list[Group]]:
        """Version 1 in Thrift."""
        return (yield from (yield from thrift.read(data, self._limits, self._known, debug=debug)).groups())

    def json_v2(self, data: bytes, *, debug: bool = False) -> Generator[None, None, list[Group]]:
        """Version 2 in JSON."""
        return (yield from (yield from json_v2.read(data, self._limits, self._known, debug=debug)).groups())

    def proto_v2(self, data: bytes, *, debug: bool = False) -> Generator[None, None, list[Group]]:
        """Version 2 in protobuf."""
        return (
            yield from (yield from proto.read(data, self._limits, self._known, self._proto_tags, debug=debug)).groups()
        )
