"""`python -m fuzz.minimise [NAME …]`: what the long runs found, as few and as small inputs as reach the same code.

Takes .fuzz/corpus (what libFuzzer kept) and the corpus there is; keeps, smallest first, each input that goes from one
line of Hawse to another in a way that none before it did. The targets' own good inputs count first and are not written.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from fuzz.one import CORPUS, WORK, load
from fuzz.targets import MODULES

Arcs = set[tuple[Any, int, int]]
_LARGEST = 2048  # bytes: what is larger says nothing that a person could read


def reached(run: Callable[[bytes], None], data: bytes) -> Arcs:
    """Which pairs of consecutive lines an input passes."""
    arcs: Arcs = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        if "/hawse/" not in frame.f_code.co_filename:
            return None
        code, last = frame.f_code, -1

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            arcs.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return arcs


def minimise(name: str) -> tuple[int, int]:
    """Rewrite a target's corpus; from how many inputs to how many."""
    target = load(name)
    folder = CORPUS / name
    known: Arcs = set()
    for data in target.seeds():
        known |= reached(target.run, data)
    paths = [path for place in (folder, WORK / "corpus" / name) if place.is_dir() for path in place.iterdir()]
    found = sorted({path.read_bytes() for path in paths}, key=lambda data: (len(data), data))
    kept = []
    for data in found:
        if len(data) <= _LARGEST and not (arcs := reached(target.run, data)) <= known:
            known |= arcs
            kept.append(data)
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink()
    if kept:
        folder.mkdir(parents=True, exist_ok=True)
    for data in kept:
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(found), len(kept)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name in parser.parse_args().names or MODULES:
        before, after = minimise(name)
        print(f"{name}: {before} inputs, {after} kept", file=sys.stderr)


if __name__ == "__main__":
    main()
