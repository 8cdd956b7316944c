"""Notices that configuration files have changed, ConfigMap volumes (which swap a link) included."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

_Stat: TypeAlias = "tuple[int, int, int, int] | None"


class Files:
    """The contents of some files, as last seen. Only a file whose stat differs is read again."""

    def __init__(self, names: Iterable[str]) -> None:
        self._seen: dict[str, tuple[_Stat, bytes]] = {}
        self._next: dict[str, bytes] | None = None
        self.add(names)

    @property
    def unsettled(self) -> bool:
        """Whether the last look saw a difference that the next one is to confirm."""
        return self._next is not None

    def add(self, names: Iterable[str]) -> None:
        """Look at more files."""
        for name in names:
            if name not in self._seen:
                self._seen[name] = (_stat(name), _digest(name))

    def take(self) -> None:
        """Count the contents as they are now as seen. To be called before they are read, so no change is missed."""
        self._seen = {name: (_stat(name), self._look(name)) for name in self._seen}
        self._next = None

    def changed(self) -> bool:
        """Whether a content differs from the last time that this said so.

        A difference counts once two looks in a row agree on it: nobody reads a file that is half written, or is
        between the removal and the renaming of a careful editor.
        """
        now = {name: self._look(name) for name in self._seen}
        if all(digest == self._seen[name][1] for name, digest in now.items()):
            self._next = None
            return False
        if now != self._next:
            self._next = now
            return False
        self.take()
        return True

    def _look(self, name: str) -> bytes:
        stat, digest = self._seen[name]
        return digest if stat is not None and _stat(name) == stat else _digest(name)


def _stat(name: str) -> _Stat:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _digest(name: str) -> bytes:
    try:
        return hashlib.sha256(Path(name).read_bytes()).digest()
    except OSError:
        return b""
