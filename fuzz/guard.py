"""Watches one input at a time: does it crash, hang for more than a second, or take more memory than it may?"""

import faulthandler
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

HANG = 1.0  # seconds of processor time for one input
MEMORY = 256 << 20  # bytes that one input, and all that a target keeps, may add
_STUCK = 60  # seconds after which code that does not return to Python is taken to hang
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Hang(BaseException):
    """Not an Exception: what is fuzzed must not swallow it."""


class Guard:
    """Calls a target, and ends the process with a line of JSON once `runs` inputs are through, or one was bad."""

    def __init__(self, name: str, run: Callable[[bytes], None], runs: int, engine: str, crashes: str) -> None:
        self._name, self._run, self._runs, self._engine, self._crashes = name, run, runs, engine, crashes
        self.inputs = 0
        self._bytes = 0
        self._slowest = 0.0
        self._began = time.monotonic()
        self._base = resident()
        signal.signal(signal.SIGVTALRM, _raise)
        soft = virtual() + 2 * MEMORY  # an engine needs some for its own corpus
        resource.setrlimit(resource.RLIMIT_AS, (soft, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def one(self, data: bytes) -> None:
        """Run one input."""
        if self.inputs % 256 == 0:
            faulthandler.dump_traceback_later(_STUCK, exit=True)
            if resident() - self._base > MEMORY:
                self._fail(data, MemoryError(f"resident memory grew by {(resident() - self._base) >> 20} MiB"))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
        try:
            self._run(data)
        except (Exception, Hang) as error:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            self._fail(data, error)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        took = time.process_time() - began
        self._slowest = max(self._slowest, took)
        if took > HANG:
            self._fail(data, Hang(f"took {took:.1f} s"))
        self.inputs += 1
        self._bytes += len(data)
        if self.inputs >= self._runs:
            self.report()
            _end(0)

    def report(self, failure: str = "") -> None:
        """One line of JSON on standard output."""
        seconds = time.monotonic() - self._began
        found: dict[str, Any] = {
            "fuzz": self._name,
            "engine": self._engine,
            "inputs": self.inputs,
            "seconds": round(seconds, 1),
            "per_second": round(self.inputs / seconds) if seconds else 0,
            "mean_bytes": round(self._bytes / max(self.inputs, 1)),
            "slowest_ms": round(self._slowest * 1000, 1),
            "rss_grew_mb": round((resident() - self._base) / 1e6, 1),
        }
        print(json.dumps(found | ({"failure": failure} if failure else {})), flush=True)

    def _fail(self, data: bytes, error: BaseException) -> None:
        import hashlib
        import traceback

        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.makedirs(self._crashes, exist_ok=True)
        path = f"{self._crashes}/{self._name}-{hashlib.sha256(data).hexdigest()[:12]}"
        with open(path, "wb") as file:
            file.write(data)
        traceback.print_exception(error)
        print(f"input {self.inputs}, kept in {path}: python -m fuzz.one {self._name} {path}", file=sys.stderr)
        self.report(f"{type(error).__name__}: {error}"[:300])
        _end(1)


def _end(status: int) -> None:
    """At once: atheris has no way back from its loop."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {HANG:g} s")


def resident() -> int:
    """Resident bytes of this process (proc(5), statm)."""
    return _statm(1)


def virtual() -> int:
    """Address space of this process in bytes."""
    return _statm(0)


def _statm(column: int) -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[column]) * _PAGE
