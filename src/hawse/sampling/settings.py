"""What users set of every processor that holds traces."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from hawse import component
from hawse.component import Problem
from hawse.values import ByteSize, Duration

PATIENCE = 8.0  # seconds: OTLP clients give up after ten, and some of it is the way


class HoldingConfig(component.Config, frozen=True):
    """The keys around policies: how long, and how much, is held."""

    decision_wait: Annotated[Duration, Meta(description="From a trace's first span until it is decided.", gt=0)] = (
        Duration(30)
    )
    num_traces: Annotated[int, Meta(ge=1, description="Traces held. Above it, the oldest are decided early.")] = 50000
    num_bytes: Annotated[
        ByteSize,
        Meta(
            description="Bytes of spans held. Above it, the oldest traces are decided early. 0: half of what the "
            "process may have in flight."
        ),
    ] = ByteSize(0)
    expected_new_traces_per_sec: Annotated[
        int, Meta(ge=0, description="Accepted for OpenTelemetry's sake: nothing is allocated ahead.")
    ] = 0
    acknowledge: Annotated[
        Literal["", "decided", "received"],
        Meta(
            description="When senders are answered: when all traces of a request are decided and delivered, or when it "
            "was received, so that held spans are lost if the process dies. Must be chosen where decision_wait is "
            "above 8s, since OTLP clients wait 10s; decided otherwise."
        ),
    ] = ""

    def problems(self) -> Iterator[Problem]:
        if not self.acknowledge and self.decision_wait > PATIENCE:
            yield Problem(
                "acknowledge",
                f"decision_wait is {self.decision_wait}, but OTLP clients wait 10s for an answer, then send again",
                'write "acknowledge: received" (held spans are lost if the process dies), or "acknowledge: decided" '
                "where all senders wait longer, or a decision_wait of at most 8s",
            )
