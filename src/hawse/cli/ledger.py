"""`hawse ledger`."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hawse.cli import CLEAN, FINDINGS, epilog
from hawse.cli.options import Sources, configuration, output
from hawse.cli.output import data

if TYPE_CHECKING:
    from hawse.pipeline.ledger.report import Line, Report

_DEFAULT = "http://localhost:8888"  # where OpenTelemetry's collector serves its own metrics
_LOOKS = 10  # at a process that is not quiet, until it adds up
_BETWEEN = 0.2  # seconds
_COLUMNS = ("received", "copied", "produced", "delivered", "consumed", "filtered", "refused", "dropped", "in_flight")
_ALWAYS = {"received", "delivered", "filtered", "refused", "dropped", "in_flight"}
_RARE = ("repeated", "unaccounted")


@click.command(
    epilog=epilog(
        "hawse ledger --role logs-collector",
        "hawse ledger --url http://10.1.2.3:24321 --by-source",
        "hawse ledger --state /var/lib/hawse -o json",
    )
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="Where a process serves self-metrics. Repeatable.  [default: what the configuration says, or localhost:8888]",
)
@click.option(
    "--state",
    "folders",
    multiple=True,
    metavar="FOLDER",
    help="A process's state folder (HAWSE_STATE), whether it runs or not: what it has written last. Repeatable.",
)
@click.option("--by-source", is_flag=True, help="Also show every source: pods' containers, services.")
@configuration
@output("text", "json", "yaml")
def command(
    urls: tuple[str, ...],
    folders: tuple[str, ...],
    configs: tuple[str, ...],
    role: str | None,
    overrides: tuple[str, ...],
    *,
    by_source: bool,
    form: str,
) -> int:
    """Show where every record went that a process received: delivered, filtered by which rule, refused why, dropped,
    in flight.

    Exit code 1 tells that records were refused or dropped, or are not accounted for.
    """
    addresses = [_address(url) for url in urls]
    if not addresses and not folders:
        addresses = _configured(configs, role, overrides)
    reports = asyncio.run(_ask(addresses, sources=by_source))
    reports |= {folder: left(folder, sources=by_source) for folder in folders}
    if form == "text":
        for address, found in reports.items():
            click.echo("\n".join(text(address, found)))
    else:
        data([{"url": address, **msgspec.to_builtins(found)} for address, found in reports.items()], form)
    return FINDINGS if any(found.lost or not found.balanced for found in reports.values()) else CLEAN


def _address(url: str) -> str:
    return (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/ledger")


def _configured(configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...]) -> list[str]:
    """Where the process of a configuration serves its self-metrics, as seen from this machine."""
    if not configs and not role:
        return [_DEFAULT]
    served = Sources(configs, role, overrides).check().required().service.telemetry.metrics.served
    if not served:
        raise click.UsageError("this configuration serves no self-metrics; set service.telemetry.metrics.address")
    host = served[0].host
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return [f"http://{host}:{served[0].port}"]


async def _ask(addresses: list[str], *, sources: bool) -> "dict[str, Report]":
    return {address: await ask(address, sources=sources) for address in dict.fromkeys(addresses)}


async def ask(address: str, *, sources: bool = False) -> "Report":
    """The ledger of a process; one that does not add up while records are on their way is asked again.

    Raises HawseError.
    """
    from hawse.component import Busy
    from hawse.diagnostics import HawseError
    from hawse.net.client import HttpClient
    from hawse.net.settings import ClientConfig
    from hawse.pipeline.ledger.report import Report
    from hawse.values import Duration

    client = HttpClient(ClientConfig(endpoint=address, timeout=Duration(10)))
    try:
        for look in range(_LOOKS):
            response = await client.request("GET", f"{address}/ledger{'?by=source' * sources}")
            if response.status != 200:
                fix = "name the address of service.telemetry.metrics"
                raise HawseError.of("HW705", f"{address}/ledger answered {response.status}", fix=fix)
            found = msgspec.json.decode(response.body, type=Report)
            if found.balanced or found.quiet or look == _LOOKS - 1:
                break
            await asyncio.sleep(_BETWEEN)
    except Busy as busy:
        fix = "is it running, and does it serve self-metrics (service.telemetry.metrics) there?"
        raise HawseError.of("HW705", busy.reason, fix=fix) from None
    except msgspec.MsgspecError as error:
        raise HawseError.of("HW705", f"{address}/ledger is not a ledger: {error}", fix="name another --url") from None
    finally:
        await client.close()
    return found


def left(folder: str, *, sources: bool = False) -> "Report":
    """The ledger in a state folder. Raises HawseError."""
    from hawse.diagnostics import HawseError
    from hawse.pipeline.ledger.report import report
    from hawse.pipeline.ledger.store import kept

    try:
        return report(kept(folder), sources=sources)
    except OSError as error:
        raise HawseError.of("HW705", str(error), fix="name the folder of a process's state.db") from None


def text(address: str, found: "Report") -> Iterator[str]:
    """A ledger for people."""
    yield f"{address}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.since))}"
    lines = [*found.totals, *found.components, *(found.sources or ())]
    if not lines:
        yield "  nothing was received yet"
        return
    shown = [name for name in (*_COLUMNS, *_RARE) if name in _ALWAYS or any(getattr(line, name) for line in lines)]
    rows = [["total", *(name.replace("_", " ") for name in shown)]]
    rows += [[str(line.signal), *_numbers(line, shown, zeros=True)] for line in found.totals]
    rows += [[], ["by component"]]
    for line in found.components:
        name = f"{line.kind} {line.component}".strip() if line.kind != "service" else "(again after a restart)"
        rows.append([f"{name} ({line.signal})" if len(found.totals) > 1 else name, *_numbers(line, shown)])
        rows += _reasons(line, shown)
    if found.sources is not None:
        rows += [[], ["by source"]]
        for line in found.sources:
            name = line.source or "(none)"
            rows.append([f"{name} ({line.signal})" if len(found.totals) > 1 else name, *_numbers(line, shown)])
    yield from _table(rows)
    yield ""
    yield verdict(found)


def verdict(found: "Report") -> str:
    """Whether all is accounted for, in a sentence."""
    refused, dropped = (sum(getattr(line, name) for line in found.totals) for name in ("refused", "dropped"))
    told = [f"{count:,} {word}" for count, word in ((refused, "refused"), (dropped, "dropped")) if count]
    if not found.balanced:
        missing = [f"{line.unaccounted:+,} {line.signal}" for line in found.totals if line.unaccounted]
        told.append(f"not accounted for: {', '.join(missing) or 'some sources, see --by-source'}")
    if told:
        return "; ".join(told)
    return "every record is accounted for, none is lost"


def _numbers(line: "Line", shown: Iterable[str], *, zeros: bool = False) -> list[str]:
    values = [getattr(line, name) for name in shown]
    return [f"{value:,}" if value or zeros else "" for value in values]


def _reasons(line: "Line", shown: list[str]) -> Iterator[list[str]]:
    for outcome, reasons in line.reasons.items():
        for reason, items in sorted(reasons.items(), key=lambda one: -one[1]):
            cells = [f"{items:,}" if name == outcome else "" for name in shown]
            yield [f"    {outcome}: {reason}", *cells]


def _table(rows: list[list[str]]) -> Iterator[str]:
    """The first column to the left, numbers to the right."""
    width = max(len(row[0]) for row in rows if row)
    columns: Any = list(zip(*(row[1:] for row in rows if len(row) > 1), strict=True))
    widths = [max(map(len, column)) for column in columns]
    for row in rows:
        cells = [cell.rjust(size) for cell, size in zip(row[1:], widths, strict=False)]
        yield f"  {row[0]:{width}}  {'  '.join(cells)}".rstrip() if row else ""
