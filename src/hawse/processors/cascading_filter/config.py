"""What users write: the keys of Sumo Logic's cascading_filter, as the collection chart sets them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from hawse.component import Problem, Section
from hawse.sampling.settings import HoldingConfig
from hawse.values import Duration, Regex

Key = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, description="What it is called in the ledger, metrics and attributes.")]


class NumericAttribute(Section, frozen=True):
    """A whole number between two, both included, on a span or its resource."""

    key: Key
    min_value: int = 0
    max_value: int = 0


def _patterns(values: tuple[str, ...]) -> Iterator[Problem]:
    for number, pattern in enumerate(values):
        try:
            Regex.parse(pattern)
        except ValueError as error:
            yield Problem(f"values[{number}]", str(error))


class StringAttribute(Section, frozen=True):
    """One of some texts, on a span or its resource."""

    key: Key
    values: tuple[str, ...] = ()
    use_regex: Annotated[bool, Meta(description="Patterns match anywhere in a value.")] = False

    def problems(self) -> Iterator[Problem]:
        yield from _patterns(self.values if self.use_regex else ())


class Range(Section, frozen=True):
    """From one number to another, both included."""

    min: int = 0
    max: int = 0


class Attribute(Section, frozen=True):
    """An attribute of a span, or of its resource where the span has none of that name.

    One of `values` or `ranges` must match, where there are any.
    """

    key: Key
    values: tuple[str, ...] = ()
    use_regex: Annotated[bool, Meta(description="Patterns match anywhere in a value.")] = False
    ranges: tuple[Range, ...] = ()

    def problems(self) -> Iterator[Problem]:
        yield from _patterns(self.values if self.use_regex else ())


class Properties(Section, frozen=True):
    """What the trace as a whole must have."""

    name_pattern: Annotated[Regex | None, Meta(description="Matches the name of any of its spans, anywhere.")] = None
    min_duration: Annotated[Duration | None, Meta(description="From the earliest start to the latest end.")] = None
    min_number_of_spans: Annotated[int | None, Meta(ge=1)] = None
    min_number_of_errors: Annotated[int | None, Meta(ge=0, description="Spans with status ERROR.")] = None


class Filter(Section, frozen=True):
    """What both kinds of filters ask for: all that is written must be there in one trace."""

    name: Name
    attributes: Annotated[tuple[Attribute, ...], Meta(description="All of them, on one span.")] = ()
    numeric_attribute: NumericAttribute | None = None
    string_attribute: StringAttribute | None = None


class Reject(Filter, frozen=True):
    """Traces that are dropped before all else."""

    name_pattern: Annotated[Regex | None, Meta(description="Matches the name of any of its spans, anywhere.")] = None
    status_code: Annotated[
        Literal["Unset", "Ok", "Error"] | None, Meta(description="The status of the trace's root.")
    ] = None


class Accept(Filter, frozen=True):
    """Traces that are kept, as far as they fit."""

    properties: Properties = Properties()
    spans_per_second: Annotated[
        int, Meta(ge=-1, description="What it may keep. -1: what others have left of the whole budget.")
    ] = 0
    invert_match: bool = False


class Config(HoldingConfig, frozen=True):
    """Holds traces for a while, drops what is rejected, and keeps what is accepted as far as budgets go."""

    num_traces: Annotated[int, Meta(ge=1, description="Traces held. Above it, the oldest are decided early.")] = 100000
    trace_reject_filters: tuple[Reject, ...] = ()
    trace_accept_filters: tuple[Accept, ...] = ()
    policies: Annotated[tuple[Accept, ...], Meta(description="Older name of trace_accept_filters.")] = ()
    spans_per_second: Annotated[
        int,
        Meta(ge=0, description="The whole budget. 0: the sum of what filters and probabilistic_filtering_rate ask."),
    ] = 0
    probabilistic_filtering_rate: Annotated[
        int | None, Meta(ge=0, description="Spans per second that are kept whatever filters say.")
    ] = None
    probabilistic_filtering_ratio: Annotated[
        float | None, Meta(ge=0, le=1, description="The same, as a share of spans_per_second.")
    ] = None
    prior_spans_rate: Annotated[
        int | None, Meta(ge=0, description="Late spans of kept traces per second. Half of spans_per_second; 0: any.")
    ] = None
    history_size: Annotated[int | None, Meta(ge=1, description="Decisions remembered. As num_traces.")] = None
    collector_instances: Annotated[
        int, Meta(ge=1, description="Samplers that share the work: rates are divided by it.")
    ] = 1

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        seen: set[str] = set()
        for key in ("trace_reject_filters", "trace_accept_filters", "policies"):
            for number, one in enumerate(getattr(self, key)):
                if one.name in seen:
                    where = f"{key}[{number}].name"
                    yield Problem(where, f"{one.name} is there already", "give each filter a name of its own")
                seen.add(one.name)
        if self.probabilistic_filtering_rate is not None and self.probabilistic_filtering_ratio is not None:
            yield Problem("probabilistic_filtering_ratio", "rate and ratio say the same", "remove one of them")
