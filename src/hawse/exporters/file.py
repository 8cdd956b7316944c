"""The `file` exporter: telemetry into a local file, with the keys and the layout of OpenTelemetry's.

JSON is a line for each batch (OTLP/JSON). `proto`, and anything compressed, is a sequence of messages, each behind
its length as four bytes, big-endian.
"""

import asyncio
import errno
import os
import stat
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import zstandard
from msgspec import Meta, field

from hawse import component
from hawse.batch import Batch
from hawse.codecs import otlp_json
from hawse.component import Busy, Context, ExporterFactory, Need, Problem, Refused, Section, Writes
from hawse.diagnostics import HawseError
from hawse.state.settings import QueueConfig
from hawse.values import Duration
from hawse.wire import WireError

_LENGTH = struct.Struct(">I")
_STAMP = "%Y-%m-%dT%H-%M-%S"


class Rotation(Section, frozen=True):
    """A full file is renamed to `<name>-<time><extension>`. Times of names are UTC unless `localtime`."""

    max_megabytes: Annotated[int, Meta(ge=1, description="A file that would grow beyond is rotated first.")] = 100
    max_days: Annotated[int, Meta(ge=0, description="Older backups are deleted. 0: never.")] = 0
    max_backups: Annotated[int, Meta(ge=0, description="Backups kept, the youngest. 0: all.")] = 100
    localtime: bool = False


class Config(component.Config, frozen=True):
    """Where to, and how."""

    path: Annotated[str, Meta(min_length=1)]
    format: Literal["json", "proto"] = "json"
    compression: Annotated[Literal["zstd", ""], Meta(description="Compresses each message by itself.")] = ""
    append: Annotated[bool, Meta(description="Keep what is in the file at start. With rotation it always is.")] = False
    rotation: Rotation | None = None
    flush_interval: Annotated[
        Duration,
        Meta(description="Accepted for OpenTelemetry's sake: every batch is written before it counts as sent."),
    ] = Duration(1)
    sending_queue: QueueConfig = field(default_factory=QueueConfig)
    fsync: Annotated[bool, Meta(description="Have the disk confirm each batch: survives a power cut, and is slow.")] = (
        False
    )

    def problems(self) -> Iterator[Problem]:
        if self.append and self.rotation is not None:
            yield Problem("append", "rotation keeps what is in the file anyway", "remove one of append and rotation")


def needs(config: Config) -> Iterator[Need]:
    path = Path(config.path).absolute()
    yield Writes(str(path if config.rotation is None else path.parent), "telemetry")


class File(component.Exporter):
    """Batches are taken once the operating system has them (`fsync`: once the disk has them).

    A write that fails half-way (a full disk) is taken back, so that the file has whole messages only.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._path = Path(config.path)
        self._file = -1
        self._regular = True
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Open the file; raises HawseError where it cannot be written."""
        keep = self._config.append or self._config.rotation is not None
        try:
            self._open(0 if keep else os.O_TRUNC)
        except OSError as error:
            missing = error.errno == errno.ENOENT
            raise HawseError.of(
                "HW320",
                f"cannot write {self._path}: {error.strerror}",
                fix=f"create the folder {self._path.parent}" if missing else f"let uid {os.getuid()} write there",
                path="path",
            ) from None

    async def stop(self) -> None:
        async with self._turn:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    async def consume(self, batch: Batch) -> None:
        """See Consumer. A disk that is full or read-only is Busy."""
        message = self._encoded(batch)
        async with self._turn:
            try:
                self._write(message)
                if self._config.fsync and self._regular:
                    await asyncio.to_thread(os.fsync, self._file)
            except OSError as error:
                raise Busy(f"cannot write {self._path}: {error.strerror or error}") from None

    def _encoded(self, batch: Batch) -> bytes:
        try:
            data = otlp_json.encode(batch) if self._config.format == "json" else batch.encode()
        except WireError as error:
            raise Refused(str(error)) from None
        if self._config.compression:
            data = zstandard.ZstdCompressor().compress(data)
        elif self._config.format == "json":
            return data + b"\n"
        return _LENGTH.pack(len(data)) + data

    def _open(self, flags: int = 0) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)

    def _write(self, message: bytes) -> None:
        if self._file < 0:
            self._open()
        found = os.fstat(self._file)
        if self._regular and not found.st_nlink:  # deleted under us: what we write there nobody would find
            os.close(self._file)
            self._file = -1
            self._open()
            found = os.fstat(self._file)
        size = found.st_size if self._regular else 0
        rotation = self._config.rotation
        if rotation is not None and size and size + len(message) > rotation.max_megabytes << 20:
            self._rotate(rotation)
            size = 0
        view = memoryview(message)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            if self._regular:
                os.ftruncate(self._file, size)
            raise

    def _rotate(self, rotation: Rotation) -> None:
        """The new file is opened by the next write if that fails now: then it is tried again, like the write."""
        os.close(self._file)
        self._file = -1
        now = datetime.now(None if rotation.localtime else UTC)
        milliseconds = now.microsecond // 1000
        while (backup := self._backup(f"{now.strftime(_STAMP)}.{milliseconds:03}")).exists():
            milliseconds += 1  # rotated twice within a millisecond; names are sorted, never parsed as exact times
        self._path.rename(backup)
        self._open()
        self._prune(rotation)

    def _backup(self, stamp: str) -> Path:
        return self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")

    def _prune(self, rotation: Rotation) -> None:
        backups = sorted(self._backups(), reverse=True)  # by the time in their names: youngest first
        now = datetime.now(None if rotation.localtime else UTC).replace(tzinfo=None)
        for number, (time, path) in enumerate(backups):
            too_old = rotation.max_days and (now - time).total_seconds() > rotation.max_days * 86400
            if too_old or (rotation.max_backups and number >= rotation.max_backups):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    self._log.warning("cannot delete the old file %s: %s", path, error.strerror)

    def _backups(self) -> Iterator[tuple[datetime, Path]]:
        start, end = f"{self._path.stem}-", self._path.suffix
        for path in self._path.parent.iterdir():
            if path.name.startswith(start) and path.name.endswith(end):
                stamp = path.name[len(start) : len(path.name) - len(end)]
                try:
                    yield datetime.strptime(stamp, _STAMP + ".%f"), path  # noqa: DTZ007  # of the zone it was named in
                except ValueError:
                    continue  # someone else's file


factory = ExporterFactory("file", Config, File, needs=needs)
