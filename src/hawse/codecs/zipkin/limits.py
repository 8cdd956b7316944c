"""What a request may bring."""

import msgspec

from hawse.wire import WireError


class TooMany(WireError):
    """More spans than the caller allows."""


class Limits(msgspec.Struct, frozen=True):
    """`spans` of a request; `parts` of a span: tags and annotations together."""

    spans: int = 1 << 62
    parts: int = 10_000

    def check_spans(self, count: int) -> None:
        """Raises TooMany."""
        if count > self.spans:
            raise TooMany(f"the request has {count} spans, {self.spans} are allowed")

    def check_parts(self, count: int) -> None:
        """Raises WireError."""
        if count > self.parts:
            raise WireError(f"it has {count} tags and annotations, {self.parts} are allowed")
