"""`hawse targets`."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import click
import msgspec

from hawse.cli import CLEAN, FINDINGS, epilog
from hawse.cli.options import output
from hawse.cli.output import data, table

if TYPE_CHECKING:
    from hawse.allocator.explanation import Changed, Explanation, Found

_DEFAULT = "http://localhost:8080"


@click.group(
    epilog=epilog("hawse targets explain shop/web-0", "hawse targets list --allocator http://target-allocator:8080")
)
def command() -> None:
    """Ask a target allocator what is scraped by whom, and why something is not."""


def _allocator(function: Any) -> Any:
    return click.option(
        "--allocator",
        "url",
        metavar="URL",
        default=_DEFAULT,
        show_default=True,
        envvar="HAWSE_ALLOCATOR",
        help="Where the allocator answers.",
    )(function)


@command.command(
    epilog=epilog("hawse targets explain 10.1.2.3:8080", "hawse targets explain shop/web-0 -o json"),
)
@click.argument("target")
@_allocator
@click.option("--rules", is_flag=True, help="Show all rules that did something, not only those that decided.")
@output("text", "json", "yaml")
def explain(target: str, url: str, *, rules: bool, form: str) -> int:
    """Say why TARGET is or is not scraped, rule by rule, and by whom.

    TARGET is an address (10.1.2.3:8080), a URL, or the name of a pod, Service or node (shop/web-0). Exit code 1 tells
    that it is not scraped.
    """
    from hawse.allocator.explanation import Explanation

    body = asyncio.run(_ask(url, [f"/explain?target={quote_plus(target)}"]))[0]
    try:
        found = msgspec.json.decode(body, type=Explanation)
    except msgspec.MsgspecError as error:
        raise _no_allocator(url, f"its answer is no explanation: {error}") from None
    if form == "text":
        click.echo("\n".join(text(found, all_rules=rules)))
    else:
        data(found, form)
    return CLEAN if any(one.verdict == "scraped" for one in found.found) else FINDINGS


@command.command("list", epilog=epilog("hawse targets list", "hawse targets list --job kubelet -o json"))
@_allocator
@click.option("--job", "jobs", multiple=True, metavar="NAME", help="Only this job. Repeatable.")
@click.option("--collector", "collectors", multiple=True, metavar="ID", help="Only this collector's. Repeatable.")
@output("text", "json", "yaml")
def list_(url: str, jobs: tuple[str, ...], collectors: tuple[str, ...], *, form: str) -> int:
    """List all targets and the collectors that scrape them; the OpenTelemetry operator's allocator will do, too."""
    rows = asyncio.run(_rows(url, frozenset(jobs), frozenset(collectors)))
    if form != "text":
        data([dict(zip(("job", "target", "collector", "labels"), row, strict=True)) for row in rows], form)
    elif rows:
        click.echo(table([("JOB", "TARGET", "COLLECTOR"), *(row[:3] for row in rows)]))
    else:
        click.echo("no targets")
    return CLEAN


async def _rows(
    url: str, jobs: frozenset[str], collectors: frozenset[str]
) -> list[tuple[str, str, str, dict[str, str]]]:
    (listed,) = await _ask(url, ["/jobs"])
    try:
        names = sorted(msgspec.json.decode(listed, type=dict[str, Any]))
        names = [name for name in names if not jobs or name in jobs]
        bodies = await _ask(url, [f"/jobs/{quote_plus(name)}/targets" for name in names])
        rows = []
        for name, body in zip(names, bodies, strict=True):
            for collector, has in msgspec.json.decode(body, type=dict[str, _Collector]).items():
                if not collectors or collector in collectors:
                    rows += [(name, one, collector, each.labels) for each in has.targets for one in each.targets]
    except msgspec.MsgspecError as error:
        raise _no_allocator(url, f"its answer is not an allocator's: {error}") from None
    return sorted(rows, key=lambda row: row[:3])


class _Target(msgspec.Struct):
    targets: list[str]
    labels: dict[str, str] = {}


class _Collector(msgspec.Struct):
    targets: list[_Target] = []


async def _ask(url: str, paths: Iterable[str]) -> list[bytes]:
    """The answers to questions. Raises HawseError."""
    from hawse.component import Busy
    from hawse.net.client import HttpClient
    from hawse.net.settings import ClientConfig, url_problems
    from hawse.values import Duration

    base = (url if "://" in url else f"http://{url}").rstrip("/")
    if problem := next(url_problems("allocator", base), None):
        raise click.BadParameter(f"{problem.message}; {problem.fix}", param_hint="--allocator")
    client = HttpClient(ClientConfig(endpoint=base, timeout=Duration(60)))
    bodies = []
    try:
        for path in paths:
            answer = await client.request("GET", base + path)
            if answer.status != 200:
                said = answer.body[:300].decode("utf-8", "replace").strip()
                raise _no_allocator(base, f"{path} answered {answer.status}: {said}")
            bodies.append(answer.body)
    except Busy as busy:
        raise _no_allocator(base, busy.reason) from None
    finally:
        await client.close()
    return bodies


def _no_allocator(url: str, what: str) -> Exception:
    from hawse.diagnostics import HawseError

    return HawseError.of("HW710", f"{url}: {what}", fix="name a target allocator that is ready: --allocator URL")


# --- for people -------------------------------------------------------------------------------------------------------


def text(found: "Explanation", *, all_rules: bool = False) -> Iterator[str]:
    """An explanation for people."""
    yield found.summary
    for one in found.found:
        yield ""
        yield from _found(one, all_rules=all_rules)
    if found.not_by:
        yield ""
        yield "not by"
        yield from (f"  {one.by}: {one.reason}" for one in found.not_by)
    if found.errors:
        yield ""
        yield "what the allocator can't see"
        yield from (f"  {error}" for error in found.errors)
    if found.truncated:
        yield ""
        yield "there is more than is shown: ask for one address"


def _found(one: "Found", *, all_rules: bool) -> Iterator[str]:
    by = f" by {one.collector}" if one.collector else ""
    # Rules say "dropped by …" themselves.
    yield one.reason if one.reason.startswith(one.verdict) else f"{one.verdict}{by}: {one.reason}"
    yield f"  job         {one.job} ({one.origin})"
    yield f"  discovered  {one.address} ({one.found_by})"
    if one.url:
        yield f"  scraped at  {one.url}"
    if one.labels:
        yield f"  labels      {', '.join(f'{name}={value}' for name, value in sorted(one.labels.items()))}"
    yield from (f"  note        {note}" for note in one.notes)
    shown = one.rules if all_rules else [rule for rule in one.rules if rule.dropped]
    yield from (f"  rule {rule.rule:<6} {_rule(rule)}" for rule in shown)


def _rule(rule: "Changed") -> str:
    looks_at = "".join(f" {name}" for name in rule.config.get("source_labels", ()) or ())  # type: ignore[attr-defined]
    regex = f" =~ {rule.config['regex']}" if "regex" in rule.config else ""
    if rule.dropped:
        return f"{rule.action}{looks_at}{regex}: dropped, for it was {rule.source!r}"
    changes = ", ".join(f"{name}: {before!r} → {after!r}" for name, (before, after) in rule.labels.items())
    return f"{rule.action}{looks_at}{regex}: {changes}"
