"""How `hawse up` shows itself: a live picture on terminals, a line now and then elsewhere. Standard error only."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hawse.demo.accounts import Account
from hawse.demo.session import Session

_EVERY = 5.0  # seconds between two lines where there is no terminal


class View:
    """Tells what goes on. Use as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._began = self._told = time.monotonic()
        self._last = (self._began, 0)
        self._rate = 0.0

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

    def show(self, session: Session, now: Account) -> None:
        """Progress."""
        at = time.monotonic()
        if at - self._last[0] >= 1:
            self._rate = (now.delivered - self._last[1]) / (at - self._last[0])
            self._last = (at, now.delivered)
        if self._live is not None:
            self._live.update(Group(Text(self._line(now), style="bold"), _pods(session)))
        elif at - self._told >= _EVERY:
            self._told = at
            self.say(self._line(now))

    def _line(self, now: Account) -> str:
        return f"{time.monotonic() - self._began:4.0f}s  {progress(now)}  ({self._rate:,.0f}/s)"


def progress(now: Account) -> str:
    """The account in one line."""
    parts = [f"read {now.read:,}", f"filtered {now.filtered:,}", f"delivered {now.delivered:,}"]
    refused = [f"refused {now.refused:,}"] if now.refused else []
    return "  ".join([*parts, *refused, f"in flight {now.in_flight:,}"])


def started(session: Session) -> Iterable[str]:
    """What runs, and where."""
    yield "The logs pipeline runs: logs-collector → logs-enrichment → backend"
    for place in session.places():
        yield f"  {place.name:16} pid {place.pid:<8} {place.address:16} log {place.log}"
    health = ", ".join(f"{name} http://127.0.0.1:{port}/" for name, port in session.health.items())
    yield f"health: {health}"
    yield f"collecting: {', '.join(session.sources)}"
    yield f"open {session.page} to see what arrives; Ctrl-C ends it"


def summary(final: Account, seconds: float) -> Iterable[str]:
    """The last account, for people."""
    yield f"after {seconds:.0f}s:"
    for name, value in (
        ("read", final.read),
        ("filtered", final.filtered),
        ("delivered", final.delivered),
        ("in flight", final.in_flight),
        ("lost", final.lost),
    ):
        yield f"  {name:10} {value:>12,}"
    if final.refused:
        yield f"  {'refused':10} {final.refused:>12,}"
    if final.duplicates:
        yield f"  {'duplicates':10} {final.duplicates:>12,}"
    if final.unenriched:
        yield f"  {final.unenriched:,} records came of pods that the API server does not know"


def _pods(session: Session) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("pod of the demo", "left"), ("written", "right"), ("arrived", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for pod, arrived in session.by_pod():
        note = "" if pod.collected else "excluded by annotation"
        table.add_row(f"{pod.namespace}/{pod.pod}", f"{pod.records:,}", f"{arrived:,}", note)
    return table
