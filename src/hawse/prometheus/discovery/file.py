"""`file_sd_configs`: targets in files, which other programs write.

Files are looked at every second, by their status: that works where notifications do not, on mounted ConfigMaps and
network file systems, too. What cannot be read leaves its targets as they were.
"""

import asyncio
import glob
import os
from collections.abc import Iterator

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


class FileDiscoverer(Polled):
    """One entry: patterns, and the files that match them."""

    def __init__(self, config: FileSDConfig, name: str) -> None:
        super().__init__(name)
        self._config = config
        self._read: dict[str, tuple[Stamp, dict[str, TargetGroup]]] = {}

    async def run(self, publish: Publish) -> None:
        """See Discoverer."""
        loop = asyncio.get_running_loop()
        again = loop.time()
        while True:
            forced = loop.time() >= again
            if forced:
                again = loop.time() + self._config.refresh_interval
            await self._look(publish, forced=forced)
            await asyncio.sleep(min(LOOK, self._config.refresh_interval))

    async def _look(self, publish: Publish, *, forced: bool) -> None:
        paths = [path for pattern in self._config.files for path in sorted(glob.glob(pattern))]
        before, self._read = self._read, {}
        troubles = []
        changed = forced or before.keys() != set(paths)
        for path in paths:
            known = before.get(path)
            stamp = _stamp(path)
            if known is not None and stamp == known[0] and not forced:
                self._read[path] = known
                continue
            changed = True
            try:
                groups = await asyncio.to_thread(_groups, path)
                self._read[path] = stamp, groups
            except (OSError, FormatError) as error:
                troubles.append(_told(path, error))
                if known is not None:
                    self._read[path] = known
        if changed:
            self._tell(troubles)
            self.found(
                {source: group for _, groups in self._read.values() for source, group in groups.items()}, publish
            )

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
