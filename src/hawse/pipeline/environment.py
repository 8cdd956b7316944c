"""Whether this machine has what a graph needs: files to read, folders to write, ports to take, names that resolve.

The only check that looks outside the configuration; asked for by `hawse validate --with-environment`.
"""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from functools import singledispatch
from pathlib import Path

from hawse.component import Connects, Listens, Need, Reads, Writes
from hawse.diagnostics import Finding, Severity, Where
from hawse.pipeline.graph import Graph
from hawse.pipeline.needs import is_name, needs

_RESOLVE_TIMEOUT = 5.0  # seconds, for all names together


def check_environment(graph: Graph) -> Iterator[Finding]:
    """A finding for each need that this machine, and this user on it, does not meet."""
    stated = needs(graph)
    for one in stated:
        for message, fix in _unmet(one.need):
            for path in one.by:
                yield Finding(_CODES[type(one.need)], Severity.ERROR, Where(path=path), message, fix)
    hosts = {one.need.host: one.by for one in stated if isinstance(one.need, Connects) and is_name(one.need.host)}
    for host, problem in _unresolved(sorted(hosts)):
        fix = "check the name, and what resolves names here"
        for path in hosts[host]:
            yield Finding("HW144", Severity.ERROR, Where(path=path), f'"{host}" does not resolve: {problem}', fix)


_CODES: dict[type, str] = {Reads: "HW141", Writes: "HW142", Listens: "HW143"}


@singledispatch
def _unmet(need: Need) -> Iterator[tuple[str, str]]:  # noqa: ARG001
    """What is missing, and how to mend it. Nothing can be said of other needs from here."""
    yield from ()


@_unmet.register
def _(need: Reads) -> Iterator[tuple[str, str]]:
    folder = _fixed_part(need.path)
    if not folder.exists():
        below = "" if str(folder) == need.path else f", so nothing matches {need.path}"
        yield f'"{folder}" does not exist{below}', "mount it, or change the path"
    elif not os.access(folder, os.R_OK | (os.X_OK if folder.is_dir() else 0)):
        yield f'"{folder}" cannot be read by user {os.geteuid()}', "give the user the right, or a group that has it"


@_unmet.register
def _(need: Writes) -> Iterator[tuple[str, str]]:
    target = Path(need.path)
    existing = next(one for one in (target, *target.parents) if one.exists())
    if not os.access(existing, os.W_OK | (os.X_OK if existing.is_dir() else 0)):
        yield f'"{existing}" cannot be written by user {os.geteuid()}', f"make {target} writable for it"


@_unmet.register
def _(need: Listens) -> Iterator[tuple[str, str]]:
    family = socket.AF_INET6 if ":" in need.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if need.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if need.protocol != "udp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((need.host, need.port))
        except OSError as problem:
            what = f"{need.protocol} port {need.port} on {need.host} cannot be had: {problem.strerror or problem}"
            yield what, "stop what has it, or choose another port"


def _fixed_part(pattern: str) -> Path:
    """The folder above the first part with a wildcard; the path itself if it has none."""
    path = Path(pattern)
    for number, part in enumerate(path.parts):
        if any(character in part for character in "*?["):
            return Path(*path.parts[:number])
    return path


def _unresolved(hosts: list[str]) -> Iterator[tuple[str, str]]:
    if not hosts:
        return
    pool = ThreadPoolExecutor(max_workers=min(16, len(hosts)))
    waiting = {host: pool.submit(socket.getaddrinfo, host, None) for host in hosts}
    for host, answer in waiting.items():
        try:
            answer.result(timeout=_RESOLVE_TIMEOUT)
        except TooLate:
            yield host, f"no answer within {_RESOLVE_TIMEOUT:g}s"
        except OSError as problem:
            yield host, problem.strerror or str(problem)
    pool.shutdown(wait=False, cancel_futures=True)
