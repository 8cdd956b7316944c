"""`make test-crash`: every role is killed at random moments, under load and rotation; then nothing may be missing.

Prints one JSON line. The seed decides what is written, who is killed, in what order, and after how long; the moments
themselves are as the machine has them.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from .tally import Tally
from .tiers import ROLES, Tiers
from .writers import Load


class Report(msgspec.Struct):
    """The JSON line. `in_flight_at_kills` sums what was unanswered a moment before each kill, all roles together."""

    seed: int
    queue: bool
    kills: dict[str, int]
    written: int = 0
    rotations: int = 0
    delivered: int = 0
    missing: int = 0
    wrong: int = 0
    duplicates: int = 0
    max_in_flight: int = 0
    in_flight_at_kills: int = 0
    wall_s: float = 0.0
    examples: list[str] = []

    @property
    def holds(self) -> bool:
        """Nothing is missing or changed, and nothing came twice that was not in flight when something was killed."""
        return not self.missing and not self.wrong and self.duplicates <= self.in_flight_at_kills

    def json(self) -> str:
        return msgspec.json.encode(self).decode()


async def killed(root: Path, *, kills: int, seed: int, queue: bool, rate: float = 1500) -> Report:
    """Kill each role `kills` times, and compare. The processes' logs and the files stay in `root`."""
    began = time.monotonic()
    rng = random.Random(f"kills {seed}")
    load = Load(root / "log", seed, rate=rate)
    report = Report(seed, queue, dict.fromkeys(ROLES, 0))
    async with Tiers(root, load, queue=queue) as tiers:
        await tiers.start_all()
        tiers.begin_writing()
        deck = [name for name in ROLES for _ in range(kills)]
        rng.shuffle(deck)
        for name in deck:
            # Often while it starts, oftener while it works.
            await asyncio.sleep(rng.uniform(0, 0.3) if rng.random() < 0.35 else rng.uniform(0.3, 1.0))
            await _kill(tiers, name, report)
            await tiers.start(name, ready=False)
        await tiers.settle(120)
        await tiers.stop_all()
        _add(report, await tiers.compare())
    report.rotations = load.rotations
    report.wall_s = round(time.monotonic() - began, 1)
    return report


async def _kill(tiers: Tiers, name: str, report: Report) -> None:
    flow = await tiers.flow()
    seen = max(0, flow.unanswered) + max(0, flow.held)
    report.max_in_flight = max(report.max_in_flight, seen)
    # Who does not answer yet may have begun nevertheless.
    report.in_flight_at_kills += seen if flow.unanswered >= 0 else report.max_in_flight
    report.kills[name] += 1
    await tiers.kill(name)


def _add(report: Report, tally: Tally) -> None:
    for key in ("written", "delivered", "missing", "wrong", "duplicates", "examples"):
        setattr(report, key, getattr(tally, key))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of each role")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--queue", choices=("off", "on"), default="on")
    parser.add_argument("--rate", type=float, default=1500, help="lines a second")
    parser.add_argument("--keep", type=Path, help="folder for logs and stores, kept")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="hawse-crash-") as folder:
        root = given.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(killed(root, kills=given.kills, seed=seed, queue=given.queue == "on", rate=given.rate))
    print(report.json())
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
