"""Child processes of `hawse up`: their start, their logs, their end. None outlives the process that started it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from hawse.diagnostics import HawseError

_PR_SET_PDEATHSIG = 1  # prctl(2): the signal to get when the parent dies
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Child:
    """One process. Its standard output and error go to a file, its standard input is a pipe."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """`env` is added to this process's environment."""
        self.name = name
        self.log = log
        self._argv = argv
        self._env = {**os.environ, **env}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, in a process group of its own: Ctrl-C on the terminal is for the parent to answer."""
        parent = os.getpid()

        def die_with_parent() -> None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                env=self._env,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The process's number, 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        if self.running and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")

    def died(self) -> HawseError:
        """The error that says so, with the last lines of its log."""
        code = self._process.returncode if self._process else None
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        return HawseError.of("HW701", f"{self.name} {how}; its last words:\n{self.tail()}", file=str(self.log))

    def tail(self, lines: int = 12) -> str:
        """The end of its log, indented."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join(f"    {line}" for line in text) or "    (none)"

    async def stop(self, grace: float) -> bool:
        """Ask it to end (SIGTERM), and make it end when `grace` seconds are over. False if it had to be made to."""
        if not self.running or self._process is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        """End it now."""
        if self.running and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


def free_port(preferred: int, taken: set[int], *, udp: bool = False) -> int:
    """The preferred port if nothing listens there, else any free one. `taken` are those given out already."""
    for port in (preferred, *[0] * 20):
        with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
            if not udp:  # of UDP, this would let two have the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
        if found not in taken:
            taken.add(found)
            return found
    raise HawseError.of("HW702", "no free port on 127.0.0.1", fix="end some of what listens there (ss -ltun)")
