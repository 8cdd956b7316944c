"""`hawse backend`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hawse.cli import epilog
from hawse.net.settings import split_endpoint
from hawse.values import ByteSize, Duration

if TYPE_CHECKING:
    from hawse.backend.faults import Fault
    from hawse.backend.server import Backend


def _parsed(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads an option's text, once or for each of its values; a ValueError is a usage error."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            return [read(one) for one in value] if isinstance(value, tuple) else read(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return callback


def _endpoint(text: str) -> str:
    split_endpoint(text)
    return text


def _size(text: str) -> int:
    return ByteSize.parse(int(text) if text.isdigit() else text)


def _fault(text: str) -> "Fault":
    from hawse.backend.faults import parse

    return parse(text)


@click.command(
    epilog=epilog(
        "hawse backend",
        "hawse backend --listen 0.0.0.0:8088 --store logs.db --max-size 4GiB",
        "hawse backend --fault status=503,rate=0.1,retry_after=2 --fault signal=logs,delay=200ms",
    )
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=_parsed(_endpoint),
    default="127.0.0.1:8088",
    show_default=True,
    help="Where to take and show telemetry. There is no log-in: beyond loopback, a network policy must guard it.",
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file to keep everything in. Without it, a temporary one that goes with the backend.",
)
@click.option(
    "--max-size", metavar="SIZE", callback=_parsed(_size), default="1GiB", show_default=True, help="Of the store."
)
@click.option("--max-records", type=click.IntRange(0), default=0, help="Log records to hold; 0 is no limit.")
@click.option(
    "--max-age",
    metavar="DURATION",
    callback=_parsed(Duration.parse),
    default="0",
    help="To hold anything; 0 is no limit.",
)
@click.option(
    "--max-series",
    type=click.IntRange(0),
    default=200_000,
    show_default=True,
    help="Series of metrics to hold; 0 is no limit. Data points of further ones are rejected.",
)
@click.option(
    "--fault",
    "faults",
    metavar="RULE",
    callback=_parsed(_fault),
    multiple=True,
    help="Misbehave: status, retry_after, delay, reset=head|body, hang, keep, with rate, times, signal, path.",
)
@click.option("--drop-rate", type=click.FloatRange(0, 100), default=0, help="Percent of requests to answer with 500.")
@click.option("--seed", type=int, default=0, help="Of the dice that decide about faults.")
@click.option(
    "--search-timeout",
    metavar="DURATION",
    callback=_parsed(Duration.parse),
    default="30s",
    show_default=True,
    help="For a search.",
)
def command(
    listen: str,
    store: Path | None,
    max_size: int,
    max_records: int,
    max_age: float,
    max_series: int,
    faults: "list[Fault]",
    drop_rate: float,
    seed: int,
    search_timeout: float,
) -> int:
    """Run the embedded backend: it takes what a Sumo Logic HTTP or OTLP source takes, and OTLP/HTTP; keeps it in
    SQLite; and shows and counts it on a page and as JSON.

    It ends on SIGTERM or SIGINT, when everything it has accepted is stored.
    """
    from hawse.backend.faults import Fault
    from hawse.backend.server import Backend
    from hawse.backend.store import Limits

    dropping = [Fault(id="drop-rate", status=500, rate=drop_rate / 100)] if drop_rate else []
    backend = Backend(
        listen,
        store,
        limits=Limits(max_size, max_records, max_age, max_series),
        faults=[*faults, *dropping],
        seed=seed,
        search_seconds=search_timeout or 30,
    )
    asyncio.run(_serve(backend))
    return 0


async def _serve(backend: "Backend") -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with backend:
        # Whoever reads our output may have gone; that is no reason to stop taking telemetry.
        with contextlib.suppress(BrokenPipeError):
            click.echo(f"backend: {backend.url}  (page, JSON API, OTLP/HTTP, Sumo Logic HTTP source)")
            click.echo(f"store:   {backend.store}")
            for rule in backend.faults.rules:
                click.echo(f"fault:   {rule.fault.id} is active")
        await stopping.wait()
