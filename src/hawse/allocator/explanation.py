"""The form of an answer of `/explain`: JSON for programs, and what `hawse targets explain` shows."""

import msgspec


class Changed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that did something. `labels`: before and after, "" for what is not there."""

    rule: int
    action: str
    config: dict[str, object]
    labels: dict[str, tuple[str, str]] = {}
    dropped: bool = False
    source: str = ""  # what the rule looked at


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a discovered target in one job."""

    job: str
    origin: str
    found_by: str
    address: str
    verdict: str  # scraped | unassigned | dropped | refused | not ready
    reason: str
    url: str = ""
    collector: str = ""
    labels: dict[str, str] = {}
    rules: list[Changed] = []
    discovered: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class NotBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job or monitor by which it is not scraped, and why."""

    by: str
    reason: str


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. `found` begins with what is scraped."""

    query: str
    summary: str
    found: list[Found] = []
    not_by: list[NotBy] = []
    errors: list[str] = []
    truncated: bool = False
