"""`hawse up`."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hawse.cli import CLEAN, FINDINGS, epilog
from hawse.cli.ledger import text
from hawse.cli.options import output
from hawse.cli.output import data
from hawse.values import Duration

if TYPE_CHECKING:
    from hawse.demo.environments import Options
    from hawse.demo.session import Accounts, Session
    from hawse.demo.view import View
    from hawse.pipeline.ledger.report import Report

_LOOK = 0.5  # seconds between two looks at the counters


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return Duration.parse(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command(
    epilog=epilog("hawse up", "hawse up --for 30s -o json", "sudo hawse up --kubeconfig /etc/kubernetes/admin.conf")
)
@click.option("--for", "seconds", metavar="DURATION", callback=_duration, help="End by itself after this time.")
@click.option(
    "--kubeconfig",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Take metadata from this cluster, and collect this machine's own logs and metrics only.",
)
@click.option(
    "--demo/--no-demo", default=None, help="Whether the demo's workload logs. [default: without --kubeconfig]"
)
@click.option(
    "--host-logs/--no-host-logs", default=True, help="Whether this machine's own container logs are collected."
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Of the demo.")
@click.option(
    "--scrape-interval",
    metavar="DURATION",
    callback=_duration,
    default="2s",
    show_default=True,
    help="Between two scrapes of a target.",
)
@click.option("--seed", type=int, help="Makes the demo's workload log the same again.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the backend's store, offsets and logs. Without it, a temporary one that goes at the end.",
)
@output("text", "json", "yaml")
def command(
    seconds: float | None,
    kubeconfig: str | None,
    demo: bool | None,  # noqa: FBT001
    host_logs: bool,  # noqa: FBT001
    rate: float,
    scrape_interval: float,
    seed: int | None,
    state: Path | None,
    form: str,
) -> int:
    """Run the pipelines of logs, metrics and traces on this machine (collectors, enrichment, target allocator,
    backend), each a process with its bundled configuration, and show what arrives.

    Ctrl-C (or --for) ends it: everything drains, and a summary says what was read, scraped or received, filtered,
    delivered and lost, by what the files held, the targets exposed, the services sent and the backend has; then each
    process's ledger.
    Exit code 1 tells that something was lost.
    """
    if kubeconfig and demo:
        raise click.UsageError("--demo needs the demo's own API server; leave out --demo or --kubeconfig")
    from hawse.demo.environments import Options

    with _folder(state) as folder:
        options = Options(
            state=folder,
            kubeconfig=str(Path(kubeconfig).resolve()) if kubeconfig else "",
            demo=not kubeconfig if demo is None else demo,
            host_logs=host_logs,
            rate=rate,
            seed=seed,
            scrape_interval=scrape_interval,
        )
        return asyncio.run(_up(options, seconds, form))


@contextlib.contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    if state is None:
        with tempfile.TemporaryDirectory(prefix="hawse-up-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot make the folder {state}: {error.strerror}", param_hint="--state") from None
    yield state.resolve()


async def _up(options: "Options", seconds: float | None, form: str) -> int:
    from rich.console import Console

    from hawse.demo.session import Session
    from hawse.demo.view import View, summary

    session = Session(options)
    began = time.monotonic()
    with View(Console(stderr=True)) as view:
        try:
            with _signals() as stopping:
                await session.start()
                view.started(session)
                await _watch(session, view, stopping, seconds)
                view.say("draining")
                final = await session.drain()
        finally:
            await session.close()
    took = time.monotonic() - began
    if form == "text":
        click.echo("\n".join(summary(final, took)))
        for name, ledger in session.ledgers.items():
            click.echo("\n" + "\n".join(text(f"{name}'s ledger", ledger)))
    else:
        data(_result(final, session.ledgers, took), form)
    balanced = all(ledger.balanced for ledger in session.ledgers.values())
    return FINDINGS if final.lost or not balanced else CLEAN


async def _watch(session: "Session", view: "View", stopping: asyncio.Event, seconds: float | None) -> None:
    """Show progress until told to stop, or the time is over. Raises HawseError if a process dies."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    shown = False
    while not stopping.is_set() and (left := until - time.monotonic()) > 0:
        view.show(session, await session.look())
        session.check()
        if not shown and (record := await session.logs.sample()):
            view.arrived(record)
            shown = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(_LOOK, left))


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """The first SIGINT or SIGTERM sets the event, the second one ends this task."""
    stopping, loop, task = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

    def told() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, told)
    try:
        yield stopping
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _result(final: "Accounts", ledgers: "Mapping[str, Report]", seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1),
        "signals": msgspec.to_builtins(final),
        "ledgers": msgspec.to_builtins(ledgers),
    }
