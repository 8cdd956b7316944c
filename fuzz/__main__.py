"""`python -m fuzz [NAME …] --runs N`: each target in a process of its own, one after the other, a line of JSON each.

Exits with 1 if any target found something; the input is kept in .fuzz/crashes.
"""

import argparse
import json
import subprocess
import sys

from fuzz.one import has_atheris
from fuzz.targets import MODULES


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MODULES)}; all if none is given")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["auto", "atheris", "mutator"], default="auto")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in MODULES]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(MODULES)}")
    if options.engine == "auto" and not has_atheris():
        print("atheris is not installed here: our own mutator feeds the targets, without coverage", file=sys.stderr)
    failed = 0
    for name in options.names or MODULES:
        failed += not one(name, options.runs, options.seed, options.engine)
    return 1 if failed else 0


def one(name: str, runs: int, seed: int, engine: str) -> bool:
    """Run a target; its JSON goes to standard output, all else to standard error only if it failed."""
    argv = [sys.executable, "-m", "fuzz.one", name, "--runs", str(runs), "--seed", str(seed), "--engine", engine]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    good = done.returncode == 0 and len(lines) == 1
    if not lines:
        lines = [json.dumps({"fuzz": name, "inputs": 0, "failure": f"the process ended with {done.returncode}"})]
    print(*lines, sep="\n", flush=True)
    if not good:
        print(done.stderr[-6000:], file=sys.stderr, flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
