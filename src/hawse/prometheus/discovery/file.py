"""`file_sd_configs`: targets in files, which other programs write.

Files are looked at every second, by their status: that works where notifications do not, on mounted ConfigMaps and
network file systems, too. What cannot be read leaves its targets as they were.
"""

import asyncio
import glob
import os
from collections.abc import Iterator
from typing import NamedTuple

from hawse.component import Need, Reads
from hawse.prometheus.discovery import formats
from hawse.prometheus.discovery.base import Publish
from hawse.prometheus.discovery.formats import FormatError
from hawse.prometheus.discovery.polling import Polled
from hawse.prometheus.sd_settings import FileSDConfig
from hawse.prometheus.targets import TargetGroup

LOOK = 1.0  # seconds between two looks
LARGEST = 64 << 20  # bytes of one file

Stamp = tuple[int, int, int]


class _Seen(NamedTuple):
    """A file as it was seen last. `trouble`: why it could not be read then; the groups are older in that case."""

    stamp: Stamp
    groups: dict[str, TargetGroup]
    trouble: str


class FileDiscoverer(Polled):
    """One entry: patterns, and the files that match them."""

    def __init__(self, config: FileSDConfig, name: str) -> None:
        super().__init__(name)
        self._config = config
        self._seen: dict[str, _Seen] = {}

    async def run(self, publish: Publish) -> None:
        """See Discoverer."""
        loop = asyncio.get_running_loop()
        again = loop.time()
        while True:
            forced = loop.time() >= again
            if forced:
                again = loop.time() + self._config.refresh_interval
            # In a thread: a network file system may take its time, and a large file takes some to decode.
            if await asyncio.to_thread(self._look, forced=forced):
                self._tell([seen.trouble for seen in self._seen.values() if seen.trouble])
                groups = [seen.groups for seen in self._seen.values()]
                self.found({source: one for each in groups for source, one in each.items()}, publish)
            await asyncio.sleep(min(LOOK, self._config.refresh_interval))

    def _look(self, *, forced: bool) -> bool:
        """Read what has changed. Whether anything may be different."""
        paths = [path for pattern in self._config.files for path in sorted(glob.glob(pattern))]
        before, self._seen = self._seen, {}
        changed = forced or before.keys() != set(paths)
        for path in paths:
            known, stamp = before.get(path), _stamp(path)
            if known is None or stamp != known.stamp or forced:
                known, changed = _read(path, stamp, known.groups if known is not None else {}), True
            self._seen[path] = known
        return changed

    def _tell(self, troubles: list[str]) -> None:
        if troubles:
            self.failed("; ".join(troubles))
        else:
            self.well()


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read(path: str, stamp: Stamp, before: dict[str, TargetGroup]) -> _Seen:
    try:
        return _Seen(stamp, _groups(path), "")
    except (OSError, FormatError) as error:
        return _Seen(stamp, before, _told(path, error))


def _groups(path: str) -> dict[str, TargetGroup]:
    with open(path, "rb") as file:
        body = file.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise FormatError(f"the file has more than {LARGEST >> 20} MiB")
    labels = {"__meta_filepath": path}
    if path.lower().endswith(".json"):
        return formats.from_json(body, path, labels)
    return formats.from_yaml(body, path, labels)


def _told(path: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot read {path}: {error.strerror}"
    return str(error) if path in str(error) else f"{path}: {error}"


def needs(config: FileSDConfig) -> Iterator[Need]:
    """The files."""
    for pattern in config.files:
        yield Reads(pattern, "targets (file_sd_configs)")
