"""Containers that log numbered records, and know to the byte what they wrote.

The plainest model of how runtimes and rotation treat log files: it shares no code with what reads them. One process,
one thread: a line is in the file when `advance` returns.
"""

import gzip
import json
import os
import random
import shutil
import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from hawse.demo.runtime import PIECE, ContainerLog

FORMATS = ("containerd", "cri-o", "docker")
ROTATIONS = ("kubelet", "numbered", "copytruncate")
NAMESPACE = "crash"
_KEEP = 40  # rotated files of a log: enough for the longest time that a role is away here
_ZONE = timezone(timedelta(hours=-3))  # CRI-O writes the node's local time
_CHANCE = {"long": 0.01, "torn": 0.01, "late": 0.5}


class WallClock:
    """Nanoseconds since 1970, no two alike; `step` sets it forward or (negative seconds) back.

    While it is off, the files' times are, too, as on a node whose clock was set.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._last = 0

    def step(self, seconds: float) -> None:
        self.offset += int(seconds * 1e9)
        self._last = 0

    def __call__(self) -> int:
        self._last = max(self._last + 1, time.time_ns() + self.offset)
        return self._last


class Texts:
    """What record `number` of log `name` says: from the seed, at any time again."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"texts {seed}")
        words = ["INFO", "level=warn", "größer", "naïve", "李小龍", "\ttab", '"quoted"', "\\back\\slash", "\x1b[31mred\x1b[0m",
                 "{\"a\":1}", "stdout F", "2026-01-01T00:00:00Z stderr P", "  spaces  ", "🚢", "’", "x" * 37, "\u2028"]  # fmt: skip
        self._pool = " ".join(rng.choice(words) + str(rng.randrange(1000)) for _ in range(16_000))
        self._seed = seed

    def __call__(self, name: str, number: int) -> str:
        rng = random.Random(f"{self._seed}/{name}/{number}")
        size = rng.randrange(12_000, 60_000) if rng.random() < _CHANCE["long"] else rng.randrange(250)
        at = rng.randrange(len(self._pool) - size)
        return f"#{name}:{number} {self._pool[at : at + size]}"


class Written:
    """When, to which stream and under which restart each record of a log was written; its number is the index."""

    def __init__(self, name: str, uid: str, texts: Texts) -> None:
        self.name = name
        self.uid = uid
        self.texts = texts
        self.records: list[tuple[int, str, str]] = []  # (time in ns, stream, restart count)


class Writer(ContainerLog):
    """One container. Two streams; long lines come in pieces over a while, and the other stream goes on meanwhile."""

    def __init__(self, root: Path, number: int, texts: Texts, clock: WallClock, seed: int, rate: float) -> None:
        self._rng = rng = random.Random(f"writer {seed}/{number}")
        self.kind = FORMATS[number % 3]
        self.rotation = ROTATIONS[number // 3 % 3]
        uid = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.pod = f"writer-{number}"
        super().__init__(
            root,
            namespace=NAMESPACE,
            pod=self.pod,
            uid=uid,
            container="main",
            format_=self.kind,
            id_=self._container_id(),
        )
        self.written = Written(f"w{number}", uid, texts)
        self.rotations = 0
        self._clock = clock
        self._rate = rate
        self._owed = 0.0
        self._open_lines: dict[str, deque[bytes]] = {}
        self._rest = b""  # of a line whose beginning is in the file
        self._late = 0  # lines that still go to the file that was renamed
        self._moved: Path | None = None
        self._rotated_at = time.monotonic()
        self._turn_every = rng.uniform(1.0, 3.0)
        self._restarts_at = 0.0

    def manifest(self) -> dict:
        """The Pod as the API server has it."""
        meta = {"name": self.pod, "namespace": NAMESPACE, "uid": self.written.uid, "labels": {"app": "writer"}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {"containers": [{"name": "main"}]},
            "status": {},
        }

    # --- writing ------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Write what falls due in so much time; rotate and restart now and then."""
        self._owed += self._rate * seconds
        while self._owed >= 1:
            self._owed -= 1
            self._step()
        now = time.monotonic()
        self._restarts_at = self._restarts_at or now + self._rng.uniform(6, 15)
        if now - self._rotated_at > self._turn_every and self._file and not self._rest and not self._late:
            self._rotated_at = now
            self.rotations += 1
            {"kubelet": self._kubelet, "numbered": self._numbered, "copytruncate": self._copytruncate}[self.rotation]()
        if now > self._restarts_at:
            self._restarts_at = now + self._rng.uniform(10, 20)
            self.finish()
            self.restart(self._container_id())

    def finish(self) -> None:
        """Write what is begun to its end, and close the file."""
        while self._rest or self._open_lines:
            self._step()
        if self._late:  # the kubelet's rotation ends with a new file at the path, or it takes its renaming back
            self._late = 0
            self.close()
            self._open()
        self.close()

    def _step(self) -> None:
        if self._rest:
            self._put(self._rest)
            return
        for stream in list(self._open_lines):
            if self._rng.random() < 0.5 or len(self._open_lines) == 2:
                self._line(self._open_lines[stream].popleft())
                if not self._open_lines[stream]:
                    del self._open_lines[stream]
                return
        free = [stream for stream in ("stdout", "stderr") if stream not in self._open_lines]
        stream = free[0] if len(free) == 1 or self._rng.random() < 0.8 else free[1]
        now = self._clock()
        number = len(self.written.records)
        pieces = deque(_lines(self.kind, now, stream, self.written.texts(self.written.name, number).encode()))
        self.written.records.append((now, stream, str(self._restart)))
        self._line(pieces.popleft())
        if pieces:
            self._open_lines[stream] = pieces

    def _line(self, line: bytes) -> None:
        if self._rng.random() < _CHANCE["torn"]:  # what a reader may see in the middle of a write
            cut = self._rng.randrange(1, len(line))
            self._rest = line[cut:]
            self._put(line[:cut], keep_rest=True)
        else:
            self._put(line)

    def _put(self, data: bytes, *, keep_rest: bool = False) -> None:
        file = self._file or self._open()
        file.write(data)
        file.flush()
        if not keep_rest:
            self._rest = b""
        if self._clock.offset:
            now = self._clock()
            os.utime(file.fileno(), ns=(now, now))
        if self._late and not self._rest:
            self._late -= 1
            if not self._late:
                self.close()  # the runtime was told to open its file again
                self._open()

    def _container_id(self) -> str:
        return f"{self._rng.getrandbits(256):064x}"

    # --- rotation -----------------------------------------------------------------------------------------------------

    def _older(self) -> list[Path]:
        return [path for path in self._path.parent.glob(f"{self._path.name}.*") if path.suffix != ".tmp"]

    def _kubelet(self) -> None:
        """`0.log` becomes `0.log.<time>`, all but the newest of these are compressed; then the runtime reopens."""
        older = sorted(self._older(), key=lambda path: path.name.removesuffix(".gz"))
        for path in older[:-_KEEP]:
            path.unlink()
        for path in older[-_KEEP:]:
            self._compress(path)
        now = self._clock()
        stamp = datetime.fromtimestamp(now / 1e9, UTC).strftime("%Y%m%d-%H%M%S")
        target = self._path.with_name(f"{self._path.name}.{stamp}")
        if target.exists() or target.with_name(target.name + ".gz").exists():
            target = target.with_name(f"{target.name}.{now % 10**9:09d}")
        self._path.rename(target)
        self._late = self._rng.randrange(1, 5) if self._rng.random() < _CHANCE["late"] else 0
        if not self._late:
            self.close()
            self._open()

    def _numbered(self) -> None:
        """dockerd's way, with compression of what is older than the last one: `x.log.1`, `x.log.2.gz`, …"""
        self.close()
        self._shift()
        self._path.rename(self._path.with_name(f"{self._path.name}.1"))
        self._open()

    def _copytruncate(self) -> None:
        """logrotate's way for writers that can't be told: copied, then cut to nothing."""
        self._shift()
        copy = self._path.with_name(f"{self._path.name}.1")
        shutil.copy2(self._path, copy)
        os.truncate(self._path, 0)
        if self._clock.offset:
            now = self._clock()
            os.utime(self._path, ns=(now, now))

    def _shift(self) -> None:
        path = self._path
        for number in range(_KEEP, 0, -1):
            for suffix in ("", ".gz"):
                old = path.with_name(f"{path.name}.{number}{suffix}")
                if old.exists():
                    new = path.with_name(f"{path.name}.{number + 1}{suffix}")
                    old.rename(new)
                    self._compress(new)

    def _compress(self, path: Path) -> None:
        if path.suffix == ".gz":
            return
        temporary = path.with_name(f"{path.name}.tmp")
        status = path.stat()
        with path.open("rb") as source, gzip.open(temporary, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target)
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))  # as gzip does
        temporary.rename(path.with_name(f"{path.name}.gz"))
        path.unlink()


def _lines(kind: str, when: int, stream: str, text: bytes) -> list[bytes]:
    """A record as lines of the runtime's format, more than one if it is longer than 16 KiB."""
    cuts = [0]
    body = text + b"\n" if kind == "docker" else text
    while len(body) - cuts[-1] > PIECE:
        cut = cuts[-1] + PIECE
        while kind == "docker" and body[cut] & 0xC0 == 0x80:  # JSON has no way to write half a character
            cut -= 1
        cuts.append(cut)
    pieces = [body[a:b] for a, b in zip(cuts, [*cuts[1:], len(body)], strict=True)]
    stamp = _rfc3339(when, _ZONE if kind == "cri-o" else UTC)
    if kind == "docker":
        return [
            json.dumps({"log": piece.decode(), "stream": stream, "time": stamp}, ensure_ascii=bool(when & 1)).encode()
            + b"\n"
            for piece in pieces
        ]
    last = len(pieces) - 1
    return [
        b"%s %s %s %s\n" % (stamp.encode(), stream.encode(), b"PF"[at == last :][:1], piece)
        for at, piece in enumerate(pieces)
    ]


def _rfc3339(when: int, zone: timezone) -> str:
    second, rest = divmod(when, 10**9)
    at = datetime.fromtimestamp(second, zone)
    offset = at.strftime("%z")
    return f"{at:%Y-%m-%dT%H:%M:%S}.{rest:09d}" + ("Z" if zone is UTC else f"{offset[:3]}:{offset[3:]}")


class Load:
    """All writers, on the clock."""

    def __init__(self, root: Path, seed: int, *, logs: int = 9, rate: float = 1500) -> None:
        """`rate` is the lines a second of all together, about."""
        self.root = root
        self.clock = WallClock()
        self.texts = Texts(seed)
        self.writers = [Writer(root, number, self.texts, self.clock, seed, rate / logs) for number in range(logs)]
        for folder in ("containers", "pods"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._last = time.monotonic()

    def begin(self) -> None:
        self._last = time.monotonic()

    def advance(self) -> None:
        """Write what has fallen due since the last time (after a stall, no more than a second's)."""
        now = time.monotonic()
        for writer in self.writers:
            writer.advance(min(1.0, now - self._last))
        self._last = now

    def finish(self) -> None:
        for writer in self.writers:
            writer.finish()

    @property
    def written(self) -> int:
        return sum(len(writer.written.records) for writer in self.writers)

    @property
    def rotations(self) -> int:
        return sum(writer.rotations for writer in self.writers)
