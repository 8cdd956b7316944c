"""What a process has cost, read from /proc; and the processes that a bench starts."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

Process: TypeAlias = "subprocess.Popen[str]"

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_rss_mb(pid: int) -> float:
    """The largest resident set so far, in 10^6 bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024 / 1e6


def warm(paths: list[Path]) -> None:
    """Bring files into the page cache."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


@contextlib.contextmanager
def process(argv: list[str], env: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run `python ARGV…` until the block ends. What it says on stderr goes to `log`, stdout is a pipe."""
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, *argv], env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            assert child.stdout
            child.stdout.close()


def metrics(port: int) -> str:
    """All self-metrics, as text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text: str = response.read().decode()
        return text


def metric(port: int, name: str) -> float | None:
    """The sum over all series of a self-metric; None while nothing listens there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            text = response.read().decode()
    except OSError:
        return None
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)", text, re.MULTILINE))


class Stalled(Exception):
    """The process ended, or nothing moved for too long."""


def until(child: Process, port: int, name: str, target: float, *, patience: float = 30) -> None:
    """Wait until a self-metric of `child` has reached `target`."""
    best, since = -1.0, time.monotonic()
    while True:
        value = metric(port, name)
        if value is not None and value >= target:
            return
        if value is not None and value > best:
            best, since = value, time.monotonic()
        if child.poll() is not None:
            raise Stalled(f"the process ended with {child.returncode}")
        if time.monotonic() - since > patience:
            raise Stalled(f"{name} stays at {best:.0f} of {target:.0f} for {patience:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
