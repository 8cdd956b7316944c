"""Misbehaviour on demand: what a client of this backend must survive, by rule and by seeded chance."""

import asyncio
import fnmatch
import random
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hawse.net.http import Response, StreamResponse
from hawse.values import Duration


class Fault(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A rule. It fires for requests that match `signal` and `path`, with probability `rate`, `times` at most.

    What it does, in this order: keep what was sent (`keep`; otherwise it is thrown away), wait `delay` seconds, then
    one of: answer `status`, cut the connection (`reset`), never answer (`hang`). A rule with only a `delay` delays,
    and the request goes on to the next rule.
    """

    id: str = ""
    signal: Literal["", "logs", "metrics", "traces"] = ""
    path: str = ""  # as a shell pattern, such as /receiver/*; empty is any
    rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, Meta(ge=0)] = 0  # 0 is no limit
    delay: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    status: Annotated[int, Meta(ge=0, le=599)] = 0
    retry_after: Annotated[float, Meta(ge=0)] | None = None  # seconds; sent as a whole number
    body: str = ""
    reset: Literal["", "head", "body"] = ""  # before the answer's head, or in the middle of its body
    hang: bool = False
    keep: bool = False


class Counted(msgspec.Struct):
    """A rule with how many requests it matched and how often it fired."""

    fault: Fault
    matched: int = 0
    fired: int = 0


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """All rules, in the order in which they are tried, and the seed of their dice."""

    faults: list[Fault] = []
    seed: int = 0


class Faults:
    """The rules in force. The same seed and the same sequence of requests give the same failures."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        """Raises ValueError for a rule that says too much or nothing."""
        self._released = asyncio.Event()
        self.replace(Settings(list(faults), seed))

    def replace(self, settings: Settings) -> None:
        """Put other rules in force and begin to count anew. Raises ValueError."""
        for number, fault in enumerate(settings.faults):
            _check(fault)
            fault.id = fault.id or f"fault-{number + 1}"
        ids = [fault.id for fault in settings.faults]
        if len(set(ids)) < len(ids):
            raise ValueError("two faults have the same id")
        self.seed = settings.seed
        self._random = random.Random(settings.seed)  # noqa: S311 - dice, no secrets
        self.rules = [Counted(fault) for fault in settings.faults]
        self.release()

    def release(self) -> None:
        """Cut the connections that were never to be answered: the rules changed, or the backend stops."""
        self._released.set()
        self._released = asyncio.Event()

    def report(self) -> dict[str, Any]:
        """The rules and how often each fired, as JSON has them."""
        return {
            "seed": self.seed,
            "faults": [
                {**msgspec.to_builtins(rule.fault), "matched": rule.matched, "fired": rule.fired} for rule in self.rules
            ],
        }

    def draw(self, path: str, signal: str) -> list[Fault]:
        """The faults that a request meets: any number of delays, then at most one that ends it."""
        drawn = []
        for rule in self.rules:
            fault = rule.fault
            if (fault.signal and fault.signal != signal) or (fault.path and not fnmatch.fnmatchcase(path, fault.path)):
                continue
            rule.matched += 1
            # The dice are thrown for a spent rule, too, so that the others see the same throws.
            if self._random.random() >= fault.rate or (fault.times and rule.fired >= fault.times):
                continue
            rule.fired += 1
            drawn.append(fault)
            if ends(fault):
                break
        return drawn

    async def answer(self, fault: Fault) -> Response:
        """The answer that a fault gives in place of a proper one, its delay apart."""
        if fault.hang:
            await self._released.wait()
        if fault.hang or fault.reset == "head":
            raise ConnectionAbortedError("cut by a fault")
        if fault.reset == "body":
            return StreamResponse(_cut(), content_type="text/plain")
        headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:.0f}"}
        return Response(fault.status, fault.body, headers, "text/plain" if fault.body else "")


def ends(fault: Fault) -> bool:
    """Whether a fault leaves no proper answer to give."""
    return bool(fault.status or fault.reset or fault.hang)


def _check(fault: Fault) -> None:
    if [bool(fault.status), bool(fault.reset), fault.hang].count(True) > 1:
        raise ValueError(f"{_name(fault)}: status, reset and hang exclude each other")
    if not ends(fault) and not fault.delay:
        raise ValueError(f"{_name(fault)} does nothing; give it a status, a delay, reset or hang")
    if 0 < fault.status < 200:
        raise ValueError(f"{_name(fault)}: {fault.status} is no final status; take 200 to 599")
    if fault.retry_after is not None and not fault.status:
        raise ValueError(f"{_name(fault)}: retry_after needs a status, such as 503")


def _name(fault: Fault) -> str:
    return fault.id or "the fault"


async def _cut() -> AsyncIterator[bytes]:
    yield b"this answer is cut off here: "
    raise ConnectionAbortedError("cut by a fault")


def parse(text: str) -> Fault:
    """A rule as the command line has it: `status=503,rate=0.1,retry_after=2,delay=200ms`. Raises ValueError."""
    found: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if key not in Fault.__struct_fields__:
            raise ValueError(f"{key!r} is no key of a fault; there are {', '.join(Fault.__struct_fields__)}")
        found[key] = _value(key, value) if equals else True
    try:
        fault = msgspec.convert(found, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    _check(fault)
    return fault


def _value(key: str, value: str) -> Any:
    if key in {"delay", "retry_after"} and not value.replace(".", "", 1).isdigit():
        return float(Duration.parse(value))
    return value


def read(body: bytes) -> Settings:
    """Rules as the API has them: `{"seed": 1, "faults": [{"status": 503, "rate": 0.1}]}`. Raises ValueError."""
    try:
        return msgspec.json.decode(body, type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


__all__ = ["Fault", "Faults", "Settings", "ends", "parse", "read"]
