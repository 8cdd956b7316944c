"""Holds traces until they are decided, hands on what is kept, and answers for all of it.

A batch is cut by trace. Each part waits with its trace until `decide` has said what becomes of it. With
`acknowledge: decided` the call that brought the batch ends when all its parts have an outcome: each is delivered, or
noted as filtered, in that call's context, so the ledger is right whatever happens to the call. A call that is cancelled
takes its parts away again: its client sends them once more. With `received`, calls end at once, and delivery goes on
until somebody takes the spans.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import spans as codec
from hawse.codecs.spans import Spans
from hawse.component import Busy, Consumer, Context, Refused
from hawse.health import Health
from hawse.net.budget import RETRY_AFTER, Budget
from hawse.net.retry import RetryConfig
from hawse.sampling.decisions import Decisions, Verdict
from hawse.sampling.limits import PerSecond
from hawse.sampling.owner import Owner
from hawse.sampling.settings import PATIENCE, HoldingConfig
from hawse.sampling.trace import OVERHEAD, Part, Trace
from hawse.turns import Turns
from hawse.wire import WireError

Decide = Callable[[Sequence[Trace], float, Turns], Awaitable[list[Verdict]]]

_HURRIED = float("-inf")
_TICK = 0.25  # seconds between decisions, which are made together
_LOT = 2048  # traces that are decided together, at most
_LARGEST = 1 << 20  # bytes of spans that are handed on at once, where calls do not wait
_BACKOFF = RetryConfig()
_TOO_LATE = Verdict(keep=False, rule="prior_spans_rate")


class Holder:
    """Between `consume` of a processor and its output. `clock` gives seconds that only go forward."""

    def __init__(
        self,
        config: HoldingConfig,
        context: Context,
        output: Consumer,
        decide: Decide,
        decisions: Decisions,
        late: PerSecond | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`late` limits the spans per second that come after their trace was decided."""
        self._config = config
        self._context = context
        self._output = output
        self._decide = decide
        self._decisions = decisions
        self._clock = clock
        self._late_limit = late or PerSecond(0)
        self._waits = (
            config.acknowledge or ("decided" if config.decision_wait <= PATIENCE else "received")
        ) == "decided"
        self._budget = context.shared(Budget)
        self._health = context.shared(Health)
        self._most = config.num_bytes or self._budget.limit // 2
        self._traces: dict[bytes, Trace] = {}  # oldest first
        self._deciding: dict[bytes, Trace] = {}
        self._held = 0  # bytes of traces that wait for their decision
        self._leaving = 0  # bytes of what is decided and not delivered yet
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking = asyncio.Lock()
        self._ends = False
        meter = context.meter
        self._early = meter.counter("hawse_processor_early_decisions", "Traces decided before decision_wait was over.")
        self._late = meter.counter("hawse_processor_late_spans", "Spans that came after their trace was decided.")
        self._decided = meter.counter("hawse_processor_decided_traces", "Traces decided, by whether they were kept.")
        meter.gauge("hawse_processor_held_traces", "Traces that wait for a decision.", lambda: len(self._traces))
        meter.gauge("hawse_processor_held_bytes", "Bytes of spans held.", lambda: self._held + self._leaving)

    # --- life

    def start(self) -> None:
        """Decide what is due, from now on, until `stop`."""
        self._context.spawn(self._run(), "decide traces")

    async def stop(self) -> None:
        """Decide all there is with what has come of it, and wait until that has been taken."""
        self._ends = True
        try:
            await self.tick()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        while not self._ends:
            await self.tick()
            try:
                async with asyncio.timeout(_TICK):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    # --- in

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        size = batch.nbytes
        if self._leaving + size > self._most or not self._budget.acquire(size, held=size):
            self._hurry(size)
            raise Busy("more spans are held than there is room for", RETRY_AFTER)
        self._budget.release(size)  # what is held of it is charged below
        parts = await self._cut(batch)
        owner = Owner() if self._waits else _Nobody()
        owner.left = len(parts)
        try:
            await self._take(parts, owner)
            if self._too_much():
                self._wake.set()
            if self._waits and parts:
                await owner.wait()
        finally:
            if self._waits:
                self._release(owner)

    async def _cut(self, batch: Batch) -> list[tuple[bytes, Spans]]:
        turns = Turns()
        parts: list[tuple[bytes, Spans]] = []
        try:
            for group in batch.groups:
                for lot in codec.cut(group):
                    parts += lot
                    await turns.give()
        except WireError as error:
            raise Refused(f"malformed traces: {error}", "malformed") from None
        return parts

    async def _take(self, parts: list[tuple[bytes, Spans]], owner: Owner) -> None:
        """Hold spans, but for those of traces that are decided: they go the same way."""
        turns = Turns()
        late: list[tuple[Verdict, Part]] = []
        for trace_id, spans in parts:
            verdict = self._decisions.get(trace_id)
            if verdict is None:
                self._hold(trace_id, spans, owner)
            else:
                fits = not verdict.keep or self._late_limit.take(spans.count, self._clock())
                late.append((verdict.later if fits else _TOO_LATE, Part(spans, owner)))
                self._leaving += len(spans.data)
                self._budget.charge(len(spans.data))
            await turns.give()
        if late:
            self._late.add(sum(part.spans.count for _, part in late))
            self._send(owner, late)

    def _hold(self, trace_id: bytes, spans: Spans, owner: Owner) -> None:
        trace = self._traces.get(trace_id) or self._deciding.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = Trace(trace_id, self._clock())
            self._held += OVERHEAD
            self._budget.charge(OVERHEAD)
        trace.add(spans, owner)
        if self._waits:
            owner.traces.add(trace_id)
        self._held += len(spans.data)
        self._budget.charge(len(spans.data))

    def _release(self, owner: Owner) -> None:
        """Its call ends."""
        if owner.left > 0:
            self._withdraw(owner)
        for task in owner.tasks:
            task.cancel()

    def _withdraw(self, owner: Owner) -> None:
        """The batch comes again: what is held of it goes. When its traces first came stays known: else they would
        never be decided where senders wait less than `decision_wait`.
        """
        for trace_id in owner.traces:
            trace = self._traces.get(trace_id)
            if trace is not None:  # else under decision: parts of a call that has ended are passed over
                size = trace.withdraw(owner)
                self._held -= size
                self._budget.release(size)

    # --- decisions

    def _too_much(self) -> bool:
        return len(self._traces) > self._config.num_traces or self._held > self._most

    def _hurry(self, size: int) -> None:
        """Decide the oldest traces soon, to make room for so many bytes."""
        for trace in self._traces.values():
            if size <= 0:
                break
            trace.arrived = _HURRIED
            size -= trace.nbytes
        self._wake.set()

    def _take_due(self) -> list[Trace]:
        """The traces to be decided now, out of those that wait."""
        now = self._clock()
        due_before = now - self._config.decision_wait
        everything = self._ends or self._health.ends
        forgotten_before = due_before - self._config.decision_wait
        due: list[Trace] = []
        gone: list[Trace] = []
        early = 0
        traces, held = len(self._traces), self._held
        for trace in self._traces.values():  # once: the beginning of a dict of which much was deleted is far away
            too_much = traces > self._config.num_traces or held > self._most
            if len(due) >= _LOT or not (trace.arrived <= due_before or everything or too_much):
                break
            if not trace.parts and not too_much and not everything and trace.arrived > forgotten_before:
                continue  # taken back, and likely to come again
            traces, held = traces - 1, held - trace.nbytes
            if not trace.parts:
                gone.append(trace)
                continue
            early += not everything and (trace.arrived > due_before or trace.arrived == _HURRIED)
            due.append(trace)
        for trace in gone:
            del self._traces[trace.id]
            self._budget.release(OVERHEAD)
        for trace in due:
            del self._traces[trace.id]
            self._deciding[trace.id] = trace
        self._leaving += self._held - held - OVERHEAD * len(gone)
        self._held = held
        if early:
            self._early.add(early)
        return due

    async def tick(self) -> None:
        """Decide what is due, and send it on its way."""
        async with self._ticking:
            while due := self._take_due():
                await self._decide_on(due, Turns())
                await asyncio.sleep(0)

    async def _decide_on(self, due: list[Trace], turns: Turns) -> None:
        charged = {trace.id: trace.nbytes for trace in due}
        verdicts = await self._decide(due, self._clock(), turns)
        by_owner: dict[Owner, list[tuple[Verdict, Part]]] = {}
        for trace, verdict in zip(due, verdicts, strict=True):
            # What came while it was being decided is among its parts by now, and was charged to what is held.
            came = trace.nbytes - charged[trace.id]
            self._held -= came
            self._leaving += came
            self._decisions.put(trace.id, verdict)
            del self._deciding[trace.id]
            self._budget.release(OVERHEAD)
            self._leaving -= OVERHEAD
            for part in trace.parts:
                by_owner.setdefault(part.owner if self._waits else _NOBODY, []).append((verdict, part))
        self._count(verdicts)
        for owner, parts in by_owner.items():
            self._send(owner, parts)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        kept = sum(verdict.keep for verdict in verdicts)
        for sampled, number in (("true", kept), ("false", len(verdicts) - kept)):
            if number:
                self._decided.add(number, sampled=sampled)

    # --- out

    def _send(self, owner: Owner, parts: list[tuple[Verdict, Part]]) -> None:
        if self._waits:
            task = asyncio.create_task(self._settle(owner, parts), context=owner.context)
            owner.tasks.add(task)
            task.add_done_callback(owner.tasks.discard)
            self._keep(task)
            return
        for lot in _lots(parts):
            self._keep(asyncio.create_task(self._settle(owner, lot)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, owner: Owner, parts: list[tuple[Verdict, Part]]) -> None:
        """Hand on what is kept of a batch and note what is not; then the parts have an outcome."""
        size = sum(len(part.spans.data) for _, part in parts)
        try:
            if self._waits and owner.gone:
                return
            kept = await self._stamped(parts)
            refusal = await self._deliver(kept) if kept else None
            self._left_out(parts)
            if kept:
                owner.settled(len(kept), refusal=refusal)
            if len(kept) < len(parts):
                owner.settled(len(parts) - len(kept))
        except Busy as answer:
            owner.busy(answer)
        except asyncio.CancelledError:
            if not self._waits:  # the process ends, and its time to drain is over
                self._dropped(parts)
            raise
        except Exception as error:
            owner.failed(error)
            if not self._waits:
                self._context.log.exception("spans are lost")
                self._dropped(parts)
        finally:
            self._leaving -= size
            self._budget.release(size)

    async def _stamped(self, parts: list[tuple[Verdict, Part]]) -> list[Spans]:
        turns = Turns()
        kept: list[Spans] = []
        for verdict, part in parts:
            if verdict.keep:
                kept.append(verdict.stamp.on(part.spans) if verdict.stamp else part.spans)
            await turns.give()
        return kept

    async def _deliver(self, kept: Iterable[Spans]) -> Refused | None:
        """Raises Busy where there is somebody to send it again."""
        batch = Batch(Signal.TRACES, codec.groups(kept))
        attempt = 0
        while True:
            try:
                await self._output.consume(batch)
            except Refused as answer:
                return answer
            except Busy as answer:
                if self._waits:
                    raise
                await asyncio.sleep(answer.retry_after or _BACKOFF.wait(attempt))
                attempt += 1
            else:
                return None

    def _left_out(self, parts: list[tuple[Verdict, Part]]) -> None:
        """Tell the ledger, once for each resource and rule."""
        for (verdict, resource), spans in _summed(part for part in parts if not part[0].keep):
            group = Group(resource, (), spans)
            if verdict.malformed:
                self._context.ledger.refused(group, "malformed")
            else:
                self._context.ledger.filtered(group, verdict.rule)

    def _dropped(self, parts: list[tuple[Verdict, Part]]) -> None:
        """In the end; what was to be left out anyway counts as that."""
        self._left_out(parts)
        for (_, resource), spans in _summed(part for part in parts if part[0].keep):
            self._context.ledger.dropped(Group(resource, (), spans), "shutdown" if self._ends else "failed")


def _summed(parts: Iterable[tuple[Verdict, Part]]) -> Iterable[tuple[tuple[Verdict, Resource], int]]:
    """Spans by rule and resource, with a verdict and a resource that stand for them."""
    found: dict[tuple[str, int], tuple[tuple[Verdict, Resource], int]] = {}
    for verdict, part in parts:
        resource = part.spans.scope.resource
        key = (verdict.rule, id(resource))
        before = found.get(key)
        found[key] = ((verdict, resource), part.spans.count + (before[1] if before else 0))
    return found.values()


class _Nobody(Owner):
    """Of batches whose calls have ended."""

    __slots__ = ()

    def __init__(self) -> None:
        self.left = 0
        self.traces = set()
        self.tasks = set()

    def settled(self, parts: int, *, refusal: Refused | None = None) -> None:
        """Nobody waits."""

    def failed(self, error: Exception) -> None:
        """Nobody waits."""


_NOBODY = _Nobody()


def _lots(parts: list[tuple[Verdict, Part]]) -> Iterable[list[tuple[Verdict, Part]]]:
    """In lots of a size that the next component likes."""
    lot: list[tuple[Verdict, Part]] = []
    size = 0
    for one in parts:
        lot.append(one)
        size += len(one[1].spans.data)
        if size >= _LARGEST:
            yield lot
            lot, size = [], 0
    if lot:
        yield lot
