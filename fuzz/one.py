"""One target in this process: `python -m fuzz.one NAME [--runs N] [--seed S] [--engine E]`, or `… NAME FILE` again."""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fuzz import mutator
from fuzz.guard import Guard
from fuzz.targets import MODULES, Target

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
WORK = Path(os.environ.get("HAWSE_FUZZ_WORK", HERE.parent / ".fuzz"))


def has_atheris() -> str:
    """Its version, "" where it is not installed."""
    try:
        return version("atheris")
    except PackageNotFoundError:
        return ""


def load(name: str, *, instrument: bool = False) -> Target:
    """A target by name; what it imports of Hawse is instrumented for coverage."""
    if instrument:
        import atheris

        with atheris.instrument_imports(include=["hawse"]):
            module = importlib.import_module(f"fuzz.targets.{MODULES[name]}")
    else:
        module = importlib.import_module(f"fuzz.targets.{MODULES[name]}")
    found: dict[str, Target] = module.TARGETS
    return found[name]


def seeds(target: Target) -> list[bytes]:
    """The target's own good inputs, and the corpus."""
    kept = sorted((CORPUS / target.name).glob("*")) if (CORPUS / target.name).is_dir() else []
    return list(dict.fromkeys([*target.seeds(), *(path.read_bytes() for path in kept)]))


def run(name: str, runs: int, seed: int, engine: str) -> None:
    """Does not return: the guard ends the process."""
    found = has_atheris()
    guided = engine == "atheris" or (engine == "auto" and bool(found))
    target = load(name, instrument=guided)
    crashes = str(WORK / "crashes")
    if guided:
        _with_atheris(target, runs, seed, crashes, found)
        return
    guard = Guard(name, target.run, runs, f"own mutator (no coverage), seed {seed}", crashes)
    feed(guard, mutator.inputs(seeds(target), target.tokens, seed))


def feed(guard: Guard, inputs: Iterable[bytes]) -> None:
    """Until the guard ends it."""
    for data in inputs:
        guard.one(data)


def _with_atheris(target: Target, runs: int, seed: int, crashes: str, found: str) -> None:
    import atheris

    work = WORK / "corpus" / target.name
    work.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (work / f"seed-{number}").write_bytes(data)
    tokens = WORK / f"{target.name}.dict"
    tokens.write_text("".join(map(_dictionary_line, target.tokens)))
    # One input more than asked for: the guard ends the process itself. libFuzzer's own report is for people.
    options = [
        f"-runs={runs + 1}", f"-seed={seed}", f"-max_len={target.longest}", "-timeout=120", "-rss_limit_mb=0",
        "-verbosity=0", "-close_fd_mask=0", f"-artifact_prefix={WORK}/",
    ]  # fmt: skip
    options += [f"-dict={tokens}"] if target.tokens else []
    guard: list[Guard] = []

    def one(data: bytes) -> None:
        if not guard:  # here, so that what libFuzzer needs for itself is there already
            guard.append(Guard(target.name, target.run, runs, f"atheris {found}, seed {seed}", crashes))
        guard[0].one(data)

    atheris.Setup([sys.argv[0], *options, str(work)], one)
    atheris.Fuzz()


def _dictionary_line(token: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(MODULES))
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run once each")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["auto", "atheris", "mutator"], default="auto")
    options = parser.parse_args()
    if options.files:
        target = load(options.name)
        feed(
            Guard(options.name, target.run, len(options.files), "given files", str(WORK / "crashes")),
            (path.read_bytes() for path in options.files),
        )
    run(options.name, options.runs, options.seed, options.engine)


if __name__ == "__main__":
    main()
