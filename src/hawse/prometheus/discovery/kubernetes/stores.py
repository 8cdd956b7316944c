"""Objects of one list-and-watch, shared by all who look at them."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hawse.kube.objects import Described
from hawse.prometheus.discovery.kubernetes.kept import Kept, Pod, key_of

T = TypeVar("T", bound=Described)
K = TypeVar("K", Pod, Kept)

# Told the key of an object, what it was and what it is; None where it was not or is not there.
Listener = Callable[[str, Any, Any], None]


class Store(Generic[T, K]):
    """A Reflector's sink. Listeners hear of changes that matter only: equal objects are the same."""

    def __init__(self, keep: Callable[[Any], K]) -> None:
        self.objects: dict[str, K] = {}
        self.listeners: list[Listener] = []
        self._keep: Callable[[T], K] = keep
        self._seen: set[str] | None = None

    def begin(self) -> None:
        """A list starts."""
        self._seen = set()

    def put(self, found: T) -> None:
        """An object of a list, or one that was added or modified."""
        key = key_of(found.metadata)
        if self._seen is not None:
            self._seen.add(key)
        made = self._keep(found)
        before = self.objects.get(key)
        if made != before:
            self.objects[key] = made
            self._tell(key, before, made)

    def delete(self, found: T) -> None:
        """An object was deleted."""
        self._forget(key_of(found.metadata))

    def end(self) -> None:
        """The list is complete: what it did not have is gone."""
        seen, self._seen = self._seen or set(), None
        for key in [key for key in self.objects if key not in seen]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        before = self.objects.pop(key, None)
        if before is not None:
            self._tell(key, before, None)

    def _tell(self, key: str, before: K | None, after: K | None) -> None:
        for listener in self.listeners:
            listener(key, before, after)
