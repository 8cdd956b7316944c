"""How container runtimes write log files, and how a kubelet lays them out and rotates them.

Layouts: `pods/<namespace>_<pod>_<uid>/<container>/<restart>.log`, linked from
`containers/<pod>_<namespace>_<container>-<id>.log`; Docker keeps the file itself in
`docker/containers/<id>/<id>-json.log`. Both runtimes of the CRI split what is longer than 16 KiB into partial lines,
as Docker does.
"""

import gzip
import json
import shutil
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, Literal

Format = Literal["containerd", "cri-o", "docker"]

PIECE = 16 << 10  # bytes of a partial line
_KEPT = 5  # files of a container, the current one included (kubelet's containerLogMaxFiles)
_NODE_ZONE = timezone(timedelta(hours=2))  # CRI-O writes the node's local time


class ContainerLog:
    """The log of one container over its restarts. Not for use by several threads."""

    def __init__(
        self, root: Path, *, namespace: str, pod: str, uid: str, container: str, format_: Format, id_: str
    ) -> None:
        """`root` stands for the node's /var/log; `id_` is the container's id (64 hex digits) of the first start."""
        self._root = root
        self._link_name = f"{pod}_{namespace}_{container}"
        self._folder = root / "pods" / f"{namespace}_{pod}_{uid}" / container
        self._format = format_
        self._id = id_
        self._restart = 0
        self._file: BinaryIO | None = None
        self._ended: deque[tuple[Path, Path, Path]] = deque()

    def write(self, time: int, stream: str, text: str) -> None:
        """Append one line of the application, `time` in nanoseconds since 1970. Safe in the file when it returns."""
        file = self._file or self._open()
        file.write(b"".join(_lines(self._format, time, stream, text.encode())))
        file.flush()

    def size(self) -> int:
        """Bytes of the current file."""
        return self._file.tell() if self._file else 0

    def rotate(self, time: int) -> None:
        """Rename the file and begin a new one, as dockerd does for its own and the kubelet for all others."""
        if self._file is None:
            return
        self.close()
        if self._format == "docker":
            _rotate_as_dockerd(self._path)
        else:
            _rotate_as_kubelet(self._path, time)
        self._open()

    def restart(self, id_: str) -> None:
        """The container ended and is started again under another id: `0.log` is followed by `1.log`.

        The logs of the last few ends stay, as the kubelet keeps dead containers for a while.
        """
        self.close()
        self._ended.append((self._link, self._folder / f"{self._restart}.log", self._path))
        while len(self._ended) > _KEPT:
            link, in_pods, path = self._ended.popleft()
            for old in (link, in_pods, *path.parent.glob(f"{path.name}*")):
                old.unlink(missing_ok=True)
        self._restart += 1
        self._id = id_

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _link(self) -> Path:
        return self._root / "containers" / f"{self._link_name}-{self._id}.log"

    @property
    def _path(self) -> Path:
        if self._format == "docker":
            return self._root / "docker" / "containers" / self._id / f"{self._id}-json.log"
        return self._folder / f"{self._restart}.log"

    def _open(self) -> BinaryIO:
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        in_pods = self._folder / f"{self._restart}.log"
        if path != in_pods:
            _link(in_pods, path)
        _link(self._link, in_pods)
        return self._file


def _rotate_as_kubelet(path: Path, time: int) -> None:
    """`0.log` becomes `0.log.<time>`; the ones before it are compressed first, so the newest can still be read."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    for old in rotated[: max(0, len(rotated) - _KEPT + 2)]:
        old.unlink()
    for old in rotated[max(0, len(rotated) - _KEPT + 2) :]:
        if old.suffix != ".gz":
            _compress(old)
    stamp = datetime.fromtimestamp(time / 1e9, UTC).strftime("%Y%m%d-%H%M%S")
    target = path.with_name(f"{path.name}.{stamp}")
    if target.exists() or target.with_name(f"{target.name}.gz").exists():  # twice in a second: the demo is in a hurry
        target = path.with_name(f"{path.name}.{stamp}.{time % 10**9:09d}")
    path.rename(target)


def _rotate_as_dockerd(path: Path) -> None:
    """`x.log` becomes `x.log.1`, `x.log.1` becomes `x.log.2`, and so on."""
    for number in range(_KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))


def _lines(format_: Format, time: int, stream: str, text: bytes) -> Iterator[bytes]:
    if format_ == "docker":
        stamp = _rfc3339(time, UTC)
        for piece in _pieces(text + b"\n", whole=True):
            entry = {"log": piece.decode("utf-8", "replace"), "stream": stream, "time": stamp}
            yield json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        return
    head = f"{_rfc3339(time, UTC if format_ == 'containerd' else _NODE_ZONE)} {stream}".encode()
    pieces = list(_pieces(text))
    for piece in pieces[:-1]:
        yield head + b" P " + piece + b"\n"
    yield head + b" F " + pieces[-1] + b"\n"


def _pieces(text: bytes, *, whole: bool = False) -> Iterator[bytes]:
    """At least one; with `whole`, cut between characters (JSON has no way to write half a one)."""
    at = 0
    while len(text) - at > PIECE:
        end = at + PIECE
        while whole and text[end] & 0xC0 == 0x80:
            end -= 1
        yield text[at:end]
        at = end
    yield text[at:]


def _rfc3339(time: int, zone: timezone) -> str:
    """Go's RFC3339Nano: trailing zeros of the fraction are trimmed, `Z` is UTC."""
    second, rest = divmod(time, 10**9)
    at = datetime.fromtimestamp(second, zone)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    offset = at.strftime("%z")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + fraction + ("Z" if zone is UTC else f"{offset[:3]}:{offset[3:]}")


def _compress(path: Path) -> None:
    """Under a temporary name first, as the kubelet does."""
    temporary = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as source, gzip.open(temporary, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    temporary.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target)
