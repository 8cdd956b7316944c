"""Which file is this? Inodes are reused and names change, so the first bytes of the content count, too."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from isal import igzip

FINGERPRINT = 1000
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


def rotated(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files beside `path` that rotation made of it (`0.log.20261124-130501`, `.gz`, `x.log.1`), oldest first."""
    folder, name = os.path.split(path)
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                other = entry.name
                if other.startswith((name + ".", name + "-")) and not other.endswith((".tmp", ".swp")):
                    found.append((entry.path, entry.stat()))
    except OSError:
        return
    found = [(other, status) for other, status in found if stat.S_ISREG(status.st_mode)]
    numbers = [_NUMBERED.fullmatch(other, len(path)) for other, _ in found]
    if all(numbers):  # these need no clock
        yield from (item for _, item in sorted(zip(map(_number, numbers), found, strict=True), reverse=True))
    else:
        yield from sorted(found, key=lambda item: (item[1].st_mtime_ns, item[0]))


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
