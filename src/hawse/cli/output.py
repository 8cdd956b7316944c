"""How commands write: results on standard output, findings on standard error, colour on terminals only."""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

import click
import msgspec

from hawse.diagnostics import Finding, Severity

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}


def colour(stream: TextIO) -> bool:
    """Whether to write colours to a stream (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def data(value: Any, form: str) -> None:
    """Print a value (structs, dicts, lists) as `json` or `yaml`."""
    plain = msgspec.to_builtins(value, str_keys=True)
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
    else:
        text = as_yaml(plain).rstrip("\n")
    click.echo(text)


def as_yaml(plain: Any) -> str:
    """YAML text of dicts, lists and scalars, keys in their order."""
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(
        plain, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110
    )
    return text


def print_findings(findings: Iterable[Finding]) -> None:
    """Write findings for people, one a line, to standard error."""
    coloured = colour(sys.stderr)
    for finding in findings:
        text = str(finding)
        severity = str(finding.severity)
        if coloured:
            text = click.style(severity, fg=_COLOURS[finding.severity], bold=True) + text.removeprefix(severity)
        click.echo(text, err=True, color=coloured)


def tally(findings: Iterable[Finding]) -> str:
    """`2 errors, 1 warning`."""
    counts = Counter(finding.severity for finding in findings)
    words = [f"{counts[kind]} {kind}" + ("s" if counts[kind] > 1 else "") for kind in Severity if counts[kind]]
    return ", ".join(words)


def table(rows: Iterable[Iterable[str]]) -> str:
    """Columns, two spaces apart."""
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
