"""What users write: the OpenTelemetry Collector's keys."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hawse.component import Problem, Section
from hawse.ottl import OttlError, parse
from hawse.sampling.settings import HoldingConfig
from hawse.values import Regex

Key = Annotated[str, Meta(min_length=1)]
STATUS_CODES = ("UNSET", "OK", "ERROR")


class Latency(Section, frozen=True):
    """From the earliest start to the latest end: at least `threshold_ms`; with an upper bound, above the one and up to
    the other.
    """

    threshold_ms: Annotated[int, Meta(ge=0)] = 0
    upper_threshold_ms: Annotated[int, Meta(ge=0, description="0: no bound.")] = 0


class NumericAttribute(Section, frozen=True):
    """A number between two, both included, on any span or its resource."""

    key: Key
    min_value: int | None = None
    max_value: int | None = None
    invert_match: bool = False

    def problems(self) -> Iterator[Problem]:
        if self.min_value is None and self.max_value is None:
            yield Problem("min_value", "neither min_value nor max_value is there", "set one of them, or both")


class StringAttribute(Section, frozen=True):
    """One of some texts, on any span or its resource."""

    key: Key
    values: Annotated[tuple[str, ...], Meta(min_length=1)]
    enabled_regex_matching: Annotated[bool, Meta(description="Patterns match anywhere in a value.")] = False
    cache_max_size: Annotated[int, Meta(ge=0, description="Values of which is remembered what patterns say.")] = 128
    invert_match: bool = False

    def problems(self) -> Iterator[Problem]:
        for number, pattern in enumerate(self.values if self.enabled_regex_matching else ()):
            try:
                Regex.parse(pattern)
            except ValueError as error:
                yield Problem(f"values[{number}]", str(error))


class BooleanAttribute(Section, frozen=True):
    """A truth value, on any span or its resource."""

    key: Key
    value: bool = False
    invert_match: bool = False


class Probabilistic(Section, frozen=True):
    """A share of the traces, by a hash of their ids."""

    sampling_percentage: Annotated[float, Meta(ge=0)] = 0.0
    hash_salt: Annotated[str, Meta(description="All samplers of one tier need the same.")] = ""


class StatusCode(Section, frozen=True):
    """Traces with a span of one of these status codes."""

    status_codes: Annotated[tuple[Literal["UNSET", "OK", "ERROR"], ...], Meta(min_length=1)]


class RateLimiting(Section, frozen=True):
    """As many traces as fit."""

    spans_per_second: Annotated[int, Meta(ge=1)]
    burst_capacity: Annotated[int, Meta(ge=0, description="Spans at once. 0: twice spans_per_second.")] = 0


class BytesLimiting(Section, frozen=True):
    """As many traces as fit."""

    bytes_per_second: Annotated[int, Meta(ge=1)]
    burst_capacity: Annotated[int, Meta(ge=0, description="Bytes at once. 0: twice bytes_per_second.")] = 0


class SpanCount(Section, frozen=True):
    """Traces of so many spans, both bounds included."""

    min_spans: Annotated[int, Meta(ge=0)] = 0
    max_spans: Annotated[int, Meta(ge=0, description="0: no bound.")] = 0


class TraceState(Section, frozen=True):
    """Traces with a span whose tracestate has one of these values."""

    key: Key
    values: Annotated[tuple[str, ...], Meta(min_length=1)]


class TraceFlags(Section, frozen=True):
    """Has no keys."""


class OttlCondition(Section, frozen=True):
    """Traces with a span that one of the conditions matches."""

    span: tuple[str, ...] = ()
    spanevent: Annotated[tuple[str, ...], Meta(description="Not supported.")] = ()
    error_mode: Annotated[
        Literal["ignore", "silent", "propagate"], Meta(description="No effect: conditions cannot fail.")
    ] = "propagate"

    def problems(self) -> Iterator[Problem]:
        if self.spanevent:
            yield Problem("spanevent", "conditions on events are not supported", "ask for something of the span")
        elif not self.span:
            yield Problem("span", "there are no conditions", "write one, or remove the policy")
        for number, text in enumerate(self.span):
            try:
                parse(text, "span")
            except OttlError as error:
                yield Problem(f"span[{number}]", f"no condition: {error}", error.fix)


Simple = Literal[
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "trace_state",
    "trace_flags",
    "boolean_attribute",
    "ottl_condition",
]
_WITHOUT_SECTION = {"always_sample", "trace_flags"}


class _Policy(Section, frozen=True, kw_only=True):
    """A name, a type, and a section that is called like the type."""

    name: Annotated[str, Meta(min_length=1, description="Must be there once.")]
    latency: Latency | None = None
    numeric_attribute: NumericAttribute | None = None
    probabilistic: Probabilistic | None = None
    status_code: StatusCode | None = None
    string_attribute: StringAttribute | None = None
    rate_limiting: RateLimiting | None = None
    bytes_limiting: BytesLimiting | None = None
    span_count: SpanCount | None = None
    trace_state: TraceState | None = None
    boolean_attribute: BooleanAttribute | None = None
    ottl_condition: OttlCondition | None = None

    def problems(self) -> Iterator[Problem]:
        kind: str = self.type  # type: ignore[attr-defined]
        if kind not in _WITHOUT_SECTION and self.section is None:
            yield Problem("type", f"is {kind}, but there is no section {kind}", f'add "{kind}: {{…}}"')

    @property
    def section(self) -> Section | None:
        """The section of its type."""
        kind: str = self.type  # type: ignore[attr-defined]
        found: Section | None = getattr(self, {"and": "and_", "not": "not_"}.get(kind, kind), None)
        return found


class SubPolicy(_Policy, frozen=True, kw_only=True):
    """A policy inside another."""

    type: Simple


class And(Section, frozen=True):
    """Traces that all of its policies sample."""

    and_sub_policy: Annotated[tuple[SubPolicy, ...], Meta(min_length=1)]


class Drop(Section, frozen=True):
    """Traces that all of its policies sample are dropped, whatever others say."""

    drop_sub_policy: Annotated[tuple[SubPolicy, ...], Meta(min_length=1)]


class Not(Section, frozen=True):
    """Traces that its policy does not sample."""

    not_sub_policy: SubPolicy


class CompositePolicy(_Policy, frozen=True, kw_only=True):
    """A policy inside `composite`."""

    type: Simple | Literal["and"]
    and_: And | None = msgspec.field(name="and", default=None)


class RateAllocation(Section, frozen=True):
    """What a policy gets of `max_total_spans_per_second`."""

    policy: str
    percent: Annotated[int, Meta(ge=0, le=100, description="0: an equal share.")] = 0


class Composite(Section, frozen=True, kw_only=True):
    """The first of its policies that samples a trace decides, within what it was allocated."""

    max_total_spans_per_second: Annotated[int, Meta(ge=1)]
    policy_order: tuple[str, ...] = ()
    composite_sub_policy: Annotated[tuple[CompositePolicy, ...], Meta(min_length=1)]
    rate_allocation: Annotated[
        tuple[RateAllocation, ...], Meta(description="Policies that are not listed get an equal share.")
    ] = ()

    def problems(self) -> Iterator[Problem]:
        names = {policy.name for policy in self.composite_sub_policy}
        yield from _twice("composite_sub_policy", self.composite_sub_policy)
        for number, name in enumerate(self.policy_order):
            if name not in names:
                yield Problem(f"policy_order[{number}]", f"there is no policy {name}", f"there are {_listed(names)}")
        for number, one in enumerate(self.rate_allocation):
            if one.policy not in names:
                where = f"rate_allocation[{number}].policy"
                yield Problem(where, f"there is no policy {one.policy}", f"there are {_listed(names)}")
        if self.policy_order and (missing := names - set(self.policy_order)):
            yield Problem("policy_order", f"{_listed(missing)} would never be asked", "list every policy, or none")


class Policy(_Policy, frozen=True, kw_only=True):
    """One of `policies`."""

    type: Simple | Literal["and", "not", "drop", "composite"]
    and_: And | None = msgspec.field(name="and", default=None)
    not_: Not | None = msgspec.field(name="not", default=None)
    drop: Drop | None = None
    composite: Composite | None = None


class DecisionCache(Section, frozen=True):
    """How many decisions are remembered for spans that come late."""

    sampled_cache_size: Annotated[int, Meta(ge=0, description="0: num_traces.")] = 0
    non_sampled_cache_size: Annotated[int, Meta(ge=0, description="0: num_traces.")] = 0


class Config(HoldingConfig, frozen=True, kw_only=True):
    """Holds traces for a while, and keeps those that a policy samples."""

    policies: Annotated[tuple[Policy, ...], Meta(min_length=1)]
    decision_cache: DecisionCache = msgspec.field(default_factory=DecisionCache)
    sample_on_first_match: Annotated[bool, Meta(description="Ask no more policies once one has sampled a trace.")] = (
        False
    )
    record_policy: Annotated[
        bool, Meta(description="Set sampling.rule, and sampling.probability where it is known, on spans.")
    ] = True

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        yield from _twice("policies", self.policies)


def _twice(path: str, policies: "Sequence[_Policy]") -> Iterator[Problem]:
    seen: set[str] = set()
    for number, policy in enumerate(policies):
        if policy.name in seen:
            yield Problem(f"{path}[{number}].name", f"{policy.name} is there already", "give each a name of its own")
        seen.add(policy.name)


def _listed(names: "set[str]") -> str:
    return ", ".join(sorted(names))
