"""How `hawse up` shows itself: a live picture on terminals, a line now and then elsewhere. Standard error only."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hawse.demo.accounts import Account
from hawse.demo.metrics import MetricsAccount
from hawse.demo.session import Accounts, Session
from hawse.demo.traces import TracesAccount

_EVERY = 5.0  # seconds between two lines where there is no terminal


class View:
    """Tells what goes on. Use as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._began = self._told = time.monotonic()
        self._last = (self._began, (0, 0, 0))
        self._rates = [0.0, 0.0, 0.0]

    def __enter__(self) -> "View":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, session: Session) -> None:
        """What runs, and where."""
        for line in started(session):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def arrived(self, record: Mapping[str, Any]) -> None:
        """One record as an example."""
        fields = ", ".join(f"{key}={value}" for key, value in record["resource"].items())
        self.say(f"records arrive, such as this one of {record['time']}:\n  {record['body'][:200]}\n  {fields}")

    def show(self, session: Session, now: Accounts) -> None:
        """Progress."""
        at = time.monotonic()
        if at - self._last[0] >= 1:
            seconds = at - self._last[0]
            delivered = (now.logs.delivered, now.metrics.delivered, now.traces.delivered)
            self._rates = [(new - old) / seconds for new, old in zip(delivered, self._last[1], strict=True)]
            self._last = (at, delivered)
        if self._live is not None:
            lines = [Text(line, style="bold") for line in self._lines(now)]
            self._live.update(Group(*lines, _pods(session)))
        elif at - self._told >= _EVERY:
            self._told = at
            for line in self._lines(now):
                self.say(line)

    def _lines(self, now: Accounts) -> Iterable[str]:
        seconds = f"{time.monotonic() - self._began:4.0f}s"
        yield f"{seconds}  logs     {progress(now.logs)}  ({self._rates[0]:,.0f}/s)"
        rest = " " * len(seconds)
        yield f"{rest}  metrics  {_progress('scraped', now.metrics.received, now.metrics)}  ({self._rates[1]:,.0f}/s)"
        yield f"{rest}           {now.metrics.series:,} series, targets: {targets(now.metrics)}"
        yield f"{rest}  traces   {_progress('received', now.traces.received, now.traces)}  ({self._rates[2]:,.0f}/s)"
        yield f"{rest}           {now.traces.traces:,} traces, spans sent: {protocols(now.traces)}"


def progress(now: Account) -> str:
    """The account of logs in one line."""
    return _progress("read", now.read, now)


def targets(now: MetricsAccount) -> str:
    """How many were scraped at last."""
    return f"{now.targets.up} up" + (f", {now.targets.down} down" if now.targets.down else "")


def protocols(now: TracesAccount) -> str:
    """How many spans the demo's services have sent, by protocol."""
    return ", ".join(f"{number:,} by {name}" for name, number in sorted(now.protocols.items())) or "none"


def _progress(came: str, number: int, now: Account | MetricsAccount | TracesAccount) -> str:
    parts = [f"{came} {number:,}", f"filtered {now.filtered:,}", f"delivered {now.delivered:,}"]
    refused = [f"refused {now.refused:,}"] if now.refused else []
    return "  ".join([*parts, *refused, f"in flight {now.in_flight:,}"])


def started(session: Session) -> Iterable[str]:
    """What runs, and where."""
    yield "The pipelines of logs, metrics and traces run: collectors → enrichment → backend"
    for place in session.places():
        yield f"  {place.name:18} pid {place.pid:<8} {place.address:16} log {place.log}"
    health = ", ".join(f"{name} http://127.0.0.1:{port}/" for name, port in session.processes.health.items())
    yield f"health: {health}"
    yield f"collecting: {', '.join(session.sources)}"
    yield f"open {session.page} to see what arrives; Ctrl-C ends it"


def summary(final: Accounts, seconds: float) -> Iterable[str]:
    """The last accounts, for people."""
    logs, metrics, traces = final.logs, final.metrics, final.traces
    yield f"after {f'{seconds:.0f}s:':7} {'logs':>11} {'metrics':>12} {'spans':>12}"
    for name, *numbers in (
        ("read", logs.read, metrics.received, traces.received),
        ("filtered", logs.filtered, metrics.filtered, traces.filtered),
        ("delivered", logs.delivered, metrics.delivered, traces.delivered),
        ("in flight", logs.in_flight, metrics.in_flight, traces.in_flight),
        ("lost", logs.lost, metrics.lost, traces.lost),
        ("refused", logs.refused, metrics.refused, traces.refused),
    ):
        if name != "refused" or any(numbers):
            yield f"  {name:10} " + " ".join(f"{number:>12,}" for number in numbers)
    if logs.duplicates or traces.duplicates:
        yield f"  {'duplicates':10} {logs.duplicates:>12,} {'':>12} {traces.duplicates:>12,}"
    if logs.unenriched:
        yield f"  {logs.unenriched:,} records came of pods that the API server does not know"
    yield f"  {metrics.series:,} series; targets at last: {targets(metrics)}"
    yield f"  {traces.traces:,} traces; spans sent: {protocols(traces)}"


def _pods(session: Session) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    names = ("pod of the demo", "records", "arrived", "samples")
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right")
    table.add_column("")
    scraped = session.metrics.by_pod()
    for pod, arrived in session.logs.by_pod():
        note = "" if pod.collected else "excluded"
        samples = scraped.get((pod.namespace, pod.pod), 0)
        table.add_row(f"{pod.namespace}/{pod.pod}", f"{pod.records:,}", f"{arrived:,}", f"{samples:,}", note)
    return table
