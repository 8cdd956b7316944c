"""How a process is doing: whether each component gets on with what it has to do, and whether data can be taken.

The pipeline notes what goes in and out of components, exporters their attempts, and whoever may have to turn data away
registers a check. `health_check` shows it; nothing else depends on it. Components get it by `context.shared(Health)`.
Times are of `time.monotonic`. Not for use from other threads than the event loop's.
"""

import enum
import time
from collections.abc import Callable
from typing import TypeAlias

import msgspec

Check: TypeAlias = Callable[[], str]  # says why not, "" for nothing to say


class State(enum.StrEnum):
    """Of a component. `waiting` is for others (a destination that is down): a restart would not help."""

    OK = "ok"
    WAITING = "waiting"
    STUCK = "stuck"
    NOT_READY = "not ready"


class Condition(msgspec.Struct, frozen=True):
    """What is to be said of a component (by its place in the configuration). `since` is in seconds since 1970."""

    component: str
    state: State
    since: float
    reason: str = ""


class Progress:
    """What a component has in hand, and when it last got on with it.

    `inside` are calls into it that are not answered, `beyond` calls that it has made itself and waits for, `attempts`
    what an exporter has under way to its destination. `waiting` counts what lies in a queue.
    """

    __slots__ = ("attempts", "beyond", "component", "failing", "inside", "moved", "rests_until", "waiting")

    def __init__(self, component: str) -> None:
        self.component = component
        self.inside = 0
        self.beyond = 0
        self.attempts = 0
        self.failing = ""  # what the last attempt failed by
        self.rests_until = 0.0
        self.moved = time.monotonic()
        self.waiting: Callable[[], int] = lambda: 0

    def attempt(self) -> None:
        """An attempt to hand data on begins."""
        self.attempts += 1
        self.moved = time.monotonic()

    def attempted(self, failure: str = "", rest: float = 0.0) -> None:
        """It has ended; after a failure there may be `rest` seconds before the next."""
        self.attempts -= 1
        self.moved = time.monotonic()
        self.failing = failure
        self.rests_until = self.moved + rest if failure else 0.0

    def judge(self, stuck_after: float) -> tuple[State, str]:
        """State and reason now."""
        idle = time.monotonic() - max(self.moved, self.rests_until)
        if idle > stuck_after:
            if self.attempts:
                return State.STUCK, f"an attempt got neither an answer nor an error for {idle:.0f}s"
            if self.inside and not self.beyond:
                return State.STUCK, f"{self.inside} batches were not handed on for {idle:.0f}s"
            if (queued := self.waiting()) and not self.beyond:
                return State.STUCK, f"{queued} batches are in the queue, and none was tried for {idle:.0f}s"
        if self.failing and (self.inside or self.attempts or self.waiting()):
            return State.WAITING, self.failing
        return State.OK, ""


class Health:
    """The process's."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._checks: dict[str, list[Check]] = {}
        self._since: dict[tuple[str, State], float] = {}
        self._starting = "service"  # what is being started; "" when everything runs
        self._stopping = False
        self._moved = time.monotonic()

    # --- told by the service and components

    def progress(self, key: str, component: str) -> Progress:
        """The progress of the instance `key`, which users know as `component`."""
        return self._progress.setdefault(key, Progress(component))

    def check(self, component: str, why_not: Check) -> None:
        """Have `why_not()` asked whether data can be taken: for the process, what one component can't is not ready."""
        self._checks.setdefault(component, []).append(why_not)

    def starting(self, component: str) -> None:
        """The service starts a component now; "" when it has started all."""
        self._starting = component
        self._moved = time.monotonic()

    def stopping(self) -> None:
        """The process drains, and takes no more."""
        self._stopping = True

    # --- asked

    @property
    def ends(self) -> bool:
        """Whether the process drains: what waits for more to come need wait no longer."""
        return self._stopping

    def liveness(self, stuck_after: float) -> tuple[bool, list[Condition]]:
        """Whether nothing is stuck for longer than so many seconds, and how every component is doing."""
        found = [(one.component, *one.judge(stuck_after)) for one in self._progress.values()]
        slow = time.monotonic() - self._moved
        if self._starting and not self._stopping and slow > stuck_after:
            found.append((self._starting, State.STUCK, f"it has been starting for {slow:.0f}s"))
        conditions = self._conditions("live", found)
        return not any(one.state is State.STUCK for one in conditions), conditions

    def readiness(self) -> tuple[bool, list[Condition]]:
        """Whether data can be taken, and what speaks against it."""
        found: list[tuple[str, State, str]] = []
        if self._stopping:
            found.append(("service", State.NOT_READY, "the process drains and ends"))
        elif self._starting:
            found.append(("service", State.NOT_READY, f"{self._starting} is being started"))
        for component, checks in self._checks.items():
            why = "; ".join(filter(None, map(_asked, checks)))
            found.append((component, State.NOT_READY if why else State.OK, why))
        conditions = self._conditions("ready", found)
        return not any(one.state is State.NOT_READY for one in conditions), conditions

    def _conditions(self, view: str, found: list[tuple[str, State, str]]) -> list[Condition]:
        """With the time since when each is as it is, as far as anybody asked."""
        worst: dict[str, tuple[State, str]] = {}  # a processor has an instance for each pipeline
        order = list(State)
        for component, state, reason in found:
            if component not in worst or order.index(state) > order.index(worst[component][0]):
                worst[component] = state, reason
        now = time.time()
        since: dict[tuple[str, State], float] = {}
        for component, (state, _) in worst.items():
            key = f"{view}:{component}", state
            since[key] = self._since.get(key, now)
        self._since = {key: at for key, at in self._since.items() if not key[0].startswith(f"{view}:")} | since
        return [
            Condition(component, state, since[f"{view}:{component}", state], reason)
            for component, (state, reason) in worst.items()
        ]


def _asked(check: Check) -> str:
    """The check's answer. A bug in it is told, and ends nothing."""
    try:
        return check()
    except Exception as problem:
        return f"whether it can take data is not known: {type(problem).__name__}: {problem}"
