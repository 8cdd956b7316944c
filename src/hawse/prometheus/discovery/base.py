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

    `name` says which, for messages (`file_sd_configs[0]`). `error` says why it is behind, "" while it is not;
    `synced` turns True once the first groups were published.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.error = ""
        self.synced = False

    async def run(self, publish: Publish) -> None:
        """Find targets until cancelled. What fails is logged, and tried again.

        `publish` is called with groups that are new or have changed; a group without targets is gone. It is called on
        the event loop, must not block, and must not raise.
        """
        raise NotImplementedError
