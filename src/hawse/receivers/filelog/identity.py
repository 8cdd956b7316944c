"""Which file is this? Inodes are reused and names change, so the first bytes of the content count, too."""

import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import msgspec
from isal import igzip

FINGERPRINT = 1000
LOOKS = 5  # at a folder in which files are being renamed
_PAUSE = 0.003  # seconds between them
_NUMBERED = re.compile(r"\.(\d{1,4})(\.gz)?")  # x.log.1 is younger than x.log.2.gz


class Fingerprint(msgspec.Struct, frozen=True, array_like=True):
    """The first `size` bytes of a file, as a BLAKE2b digest. Of size 0 it says nothing.

    Of a file shorter than FINGERPRINT, whole lines only: half a timestamp begins many a file.
    """

    size: int = 0
    digest: str = ""

    @classmethod
    def of(cls, head: bytes) -> "Fingerprint":
        """Of bytes that begin a file."""
        return cls._of(head if len(head) >= FINGERPRINT else head[: head.rfind(b"\n") + 1])

    @classmethod
    def _of(cls, head: bytes) -> "Fingerprint":
        return cls(len(head), hashlib.blake2b(head, digest_size=16).hexdigest()) if head else cls()

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins with `head` may be the one, for size > 0."""
        return 0 < self.size <= len(head) and Fingerprint._of(head[: self.size]) == self


def is_gzip(path: str) -> bool:
    """By name: rotated logs are compressed under the name of the plain file with .gz behind it."""
    return path.endswith(".gz")


def head(path: str) -> bytes:
    """The first bytes of a file's content, decompressed where it is gzip; nothing where it can't be read."""
    try:
        if is_gzip(path):
            with igzip.open(path, "rb") as stream:  # type: ignore[no-untyped-call]
                return bytes(stream.read(FINGERPRINT))
        with open(path, "rb", buffering=0) as plain:
            return plain.read(FINGERPRINT)
    except (OSError, EOFError, igzip.BadGzipFile):
        return b""


class Found(NamedTuple):
    """A file by its name, its status, and the first bytes of its content."""

    path: str
    status: os.stat_result
    head: bytes

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.status.st_dev, self.status.st_ino

    def open(self) -> "Content | None":
        """Open it; None where the name leads to another file by now, or to none."""
        try:
            content = Content(self.path)
        except OSError:
            return None
        if content.identity == self.identity and content.head().startswith(self.head):
            return content
        content.close()
        return None


def found(path: str) -> Found | None:
    """The file at a path, or None."""
    try:
        return Found(path, os.stat(path), head(path))
    except OSError:
        return None


def rotated(path: str) -> list[Found]:
    """Files beside `path` that rotation made of it (`0.log.20261124-130501`, `.gz`, `x.log.1`), oldest first.

    As they were at one moment: rotation renames while we look, and what had another name a moment ago is not to be
    passed over.
    """
    files: list[Found] = []
    for _ in range(LOOKS):
        before, whole = _listing(path)
        files = [Found(other, status, head(other)) for other, status in before.items()]
        after, still = _listing(path)
        if whole and still and _inodes(before) == _inodes(after):
            break
        time.sleep(_PAUSE)
    return _in_order(path, files)


def _listing(path: str) -> tuple[dict[str, os.stat_result], bool]:
    """Status by path, and whether that is all: what vanishes meanwhile is missing."""
    folder, name = os.path.split(path)
    listed, whole = {}, True
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith((name + ".", name + "-")) or entry.name.endswith((".tmp", ".swp")):
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    whole = False
                    continue
                if stat.S_ISREG(status.st_mode):
                    listed[entry.path] = status
    except OSError:
        pass  # the folder is gone, or not for us
    return listed, whole


def _inodes(listed: Mapping[str, os.stat_result]) -> dict[str, int]:
    return {path: status.st_ino for path, status in listed.items()}


def _in_order(path: str, files: list[Found]) -> list[Found]:
    numbers = {file.path: _NUMBERED.fullmatch(file.path, len(path)) for file in files}
    if all(numbers.values()):  # these need no clock
        return sorted(files, key=lambda file: (-_number(numbers[file.path]), file.path))
    return sorted(files, key=lambda file: (file.status.st_mtime_ns, file.path))


def _number(match: re.Match[str] | None) -> int:
    return int(match[1]) if match else 0


class Content:
    """An open log file, or a gzip of one: bytes by position in the uncompressed content."""

    def __init__(self, path: str) -> None:
        """Open it. Raises OSError."""
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        status = os.fstat(self.fd)
        self.identity = (status.st_dev, status.st_ino)
        self._file: IO[bytes] | None = None
        self._gzip: Any = None
        self._head = b""
        self._at = 0
        if is_gzip(path):
            self._file = os.fdopen(os.dup(self.fd), "rb")
            self._gzip = igzip.IGzipFile(fileobj=self._file, mode="rb")  # type: ignore[no-untyped-call]
            try:
                self._head = self._gzip.read(FINGERPRINT)
            except (OSError, EOFError, igzip.BadGzipFile) as error:
                self.close()
                raise OSError(f"{path}: damaged gzip: {error}") from error
            self._at = len(self._head)

    @property
    def compressed(self) -> bool:
        """Whether it is gzip: complete, and of unknown size."""
        return self._gzip is not None

    def status(self) -> os.stat_result:
        """Size, times, inode of the file as it is now."""
        return os.fstat(self.fd)

    def read_into(self, target: memoryview, position: int) -> int:
        """Fill `target` from `position`; fewer bytes, or none, at the end. Raises OSError (damaged gzip, too)."""
        if self._gzip is None:
            return os.preadv(self.fd, [target], position)
        try:
            if position != self._at:
                self._gzip.seek(position)
            done = 0
            while done < len(target):
                count = self._gzip.readinto(target[done:])
                if not count:
                    break
                done += count
        except (EOFError, igzip.BadGzipFile) as error:
            raise OSError(f"{self.path}: damaged gzip: {error}") from error
        self._at = position + done
        return done

    def head(self) -> bytes:
        """The first bytes of the content."""
        return os.pread(self.fd, FINGERPRINT, 0) if self._gzip is None else self._head

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._gzip.close()
            self._file.close()
        os.close(self.fd)
