"""What all discoverers have in common."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from hawse.prometheus.targets import TargetGroup

T = TypeVar("T")

Publish = Callable[[list[TargetGroup]], None]


class Shares(Protocol):
    """The part of a component's Context that discovery needs."""

    def shared(self, kind: type[T]) -> T:
        """The process's one instance of `kind`."""


class Discoverer:
    """One source of targets.

    `name` says which, for messages (`file_sd_configs[0]`).
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def error(self) -> str:
        """Why it is behind its source, "" while it is not."""
        raise NotImplementedError

    @property
    def synced(self) -> bool:
        """Whether the first groups were published (there may be none)."""
        raise NotImplementedError

    async def run(self, publish: Publish) -> None:
        """Find targets until cancelled. What fails is logged, and tried again.

        `publish` is called with groups that are new or have changed; a group without targets is gone. It is called on
        the event loop, must not block, and must not raise.
        """
        raise NotImplementedError
