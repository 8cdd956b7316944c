"""What users set of sending queues."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse.component import Problem, Section
from hawse.values import ByteSize, Duration, ExtensionID


class DeadLetters(Section, frozen=True):
    """Where data goes that the destination will never take: lines of OTLP JSON, each with the reason."""

    max_size: Annotated[
        ByteSize,
        Meta(description="Bytes of `dead-letter-<exporter>.jsonl` and the file before it together. 0: none are kept."),
    ] = ByteSize(64 << 20)


class QueueConfig(Section, frozen=True):
    """What waits to be sent: OpenTelemetry's `sending_queue`.

    With `storage`, a batch is taken once it is on disk. Without it nothing is promised: a batch is taken when the
    destination has it, and the queue only bounds how many are under way and waiting.
    """

    enabled: bool = True
    num_consumers: Annotated[int, Meta(ge=1, description="How many batches are sent at the same time.")] = 10
    queue_size: Annotated[ByteSize, Meta(description="How much the queue holds, in units of `sizer`.", ge=1)] = (
        ByteSize(1000)
    )
    sizer: Annotated[
        Literal["requests", "items", "bytes"],
        Meta(description="Batches, records (points, spans), or bytes as they are kept."),
    ] = "requests"
    storage: Annotated[ExtensionID | None, Meta(description="The storage extension that keeps it on disk.")] = None
    block_on_overflow: Annotated[
        bool, Meta(description="Let senders wait while the queue is full, instead of telling them to come again.")
    ] = False
    wait_for_result: Annotated[
        bool, Meta(description="Answer senders when the destination has the data, not when the disk has it.")
    ] = False
    overflow: Annotated[
        Literal["block", "drop_oldest"],
        Meta(description="At its bounds: take nothing more until there is room, or drop (and count) the oldest."),
    ] = "block"
    max_age: Annotated[
        Duration, Meta(description="The queue counts as full while something in it is older. 0: no bound.")
    ] = Duration(0)
    order_by_source: Annotated[
        bool, Meta(description="Never send a batch before, or beside, an earlier one of the same source.")
    ] = False
    dead_letters: DeadLetters = field(default_factory=DeadLetters)

    def problems(self) -> Iterator[Problem]:
        if self.storage is not None or not self.enabled:
            return
        fix = "set storage, such as file_storage, or remove the key"
        if self.overflow != "block":
            yield Problem("overflow", "without storage there is nothing that could be dropped", fix)
        if self.max_age:
            yield Problem("max_age", "without storage nothing waits here", fix)
        if self.order_by_source:
            yield Problem("order_by_source", "without storage there is no order", "set storage, or num_consumers to 1")
