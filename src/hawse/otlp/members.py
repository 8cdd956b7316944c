"""Who the members are: a list, or the addresses behind a name, looked up again and again."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Protocol

from hawse.component import Counter

_TOLD_EVERY = 30.0  # seconds between two complaints about the same name
_SOONEST = 1.0  # seconds between two look-ups, whoever asks for them


class Log(Protocol):
    """What is needed of a logger."""

    def warning(self, msg: str, *args: object) -> None: ...


async def addresses(hostname: str, port: int, timeout: float) -> list[str]:
    """The addresses of a name, as `10.0.0.1:4317` or `[::1]:4317`, sorted. Raises what a look-up raises."""
    async with asyncio.timeout(timeout):
        found = await asyncio.get_running_loop().getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    return sorted({_member(str(address[0]), port) for *_, address in found})


def _member(address: str, port: int) -> str:
    version = ipaddress.ip_address(address.partition("%")[0]).version
    return f"[{address}]:{port}" if version == 6 else f"{address}:{port}"


class Resolver:
    """Looks a name up every `interval` seconds, and sooner when it is asked to, and tells what it has found.

    While the name cannot be looked up, the members are those of the last time.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        interval: float,
        timeout: float,
        found: Callable[[list[str]], None],
        counted: Counter,
        log: Log,
    ) -> None:
        self._hostname = hostname
        self._port = port
        self._interval = interval
        self._timeout = timeout
        self._found = found
        self._counted = counted
        self._log = log
        self._told = float("-inf")
        self._soon = asyncio.Event()
        self.problem = ""  # why the last look-up failed

    async def resolve(self) -> None:
        """Look up once."""
        try:
            members = await addresses(self._hostname, self._port, self._timeout)
        except (OSError, TimeoutError, UnicodeError) as error:
            self.problem = self._why(error)
            self._counted.add(1, resolver="dns", success="false")
            self._complain()
        else:
            self.problem = ""
            self._counted.add(1, resolver="dns", success="true")
            self._found(members)

    async def run(self) -> None:
        """Look up again and again, without end."""
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._interval):
                    await self._soon.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(max(0.0, began + _SOONEST - time.monotonic()))
            self._soon.clear()
            await self.resolve()

    def hurry(self) -> None:
        """A member does not answer: is it still one?"""
        self._soon.set()

    def _why(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"{self._hostname} cannot be resolved: no answer within {self._timeout:g}s"
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        return f"{self._hostname} cannot be resolved ({reason}); check the name, and that DNS may be reached"

    def _complain(self) -> None:
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            self._log.warning("%s; the members stay as they were", self.problem)
