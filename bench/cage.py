"""A bound on a process's memory: a cgroup of its own where this user may make one, else only a look at its peak."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class Cage:
    """`enter` is for the child, before it becomes the program. `kind` says what holds: "cgroup2", "cgroup1", "none"."""

    def __init__(self, kind: str, folder: Path | None, limit: int) -> None:
        self.kind, self.folder, self.limit = kind, folder, limit

    @property
    def enter(self) -> Callable[[], None] | None:
        if self.folder is None:
            return None
        procs = self.folder / "cgroup.procs"

        def enter() -> None:
            procs.write_text(str(os.getpid()))

        return enter

    def killed(self) -> int:
        """How often the kernel killed in it for want of memory."""
        text = ""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                text += (self.folder / name).read_text() if self.folder else ""
        found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0


@contextmanager
def cage(name: str, limit: int) -> Iterator[Cage]:
    """For one process; empty again when the block ends."""
    made = _make(f"hawse-{name}-{os.getpid()}", limit)
    try:
        yield made
    finally:
        if made.folder is not None:
            with suppress(OSError):
                made.folder.rmdir()


def _make(name: str, limit: int) -> Cage:
    for kind, root, file in (("cgroup2", _ROOT, "memory.max"), ("cgroup1", _ROOT / "memory", "memory.limit_in_bytes")):
        folder = root / name
        try:
            if kind == "cgroup2" and "memory" not in (root / "cgroup.subtree_control").read_text().split():
                continue
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / file).write_text(str(limit))
        except OSError:
            folder.rmdir()
            continue
        return Cage(kind, folder, limit)
    return Cage("none", None, limit)
