"""What the allocator's metrics are read from."""

from collections.abc import Iterator

from hawse.allocator.allocator import Allocator
from hawse.allocator.board import Assignment
from hawse.allocator.collectors import Pods
from hawse.allocator.metrics import Labels, labelled


def gauges(allocator: Allocator) -> Iterator[tuple[str, str, dict[Labels, float]]]:
    """Values for `metrics.Metrics.text`: name without prefix, description, values by labels."""
    made = allocator.assignment or Assignment()
    strategy = allocator.settings.allocation_strategy
    discovered, refused = {}, {}
    for name, working in allocator.board.working.items():
        tallies = [part.tally for part in working.parts.values()]
        discovered[labelled(job_name=name)] = float(sum(one.discovered for one in tallies))
        if count := sum(one.refused for one in tallies):
            refused[labelled(job_name=name)] = float(count)
    yield "targets", "Number of targets discovered.", discovered
    remaining = float(sum(map(len, made.jobs.values())))
    yield "targets_remaining", "Number of targets kept after filtering.", {(): remaining}
    unassigned = "Number of targets that could not be assigned due to missing node label."
    yield "targets_unassigned", unassigned, {(): float(made.unassigned)}
    yield "targets_refused", "Number of targets whose address a monitor may not have scraped.", refused
    jobs = sum(1 for job in allocator.jobs.values() if job.refused)
    yield "jobs_refused", "Number of jobs that a monitor may not have, or that are wrong.", {(): float(jobs)}
    counts = {labelled(collector_name=name, strategy=strategy): float(n) for name, n in made.counts.items()}
    yield "targets_per_collector", "The number of targets for each collector.", counts
    found = (
        allocator.collectors.discovered
        if isinstance(allocator.collectors, Pods)
        else len(allocator.collectors.members())
    )
    yield "collectors_discovered", "Number of collectors discovered.", {(): float(found)}
    allocatable = {labelled(strategy=strategy): float(len(made.members))}
    yield "collectors_allocatable", "Number of collectors the allocator is able to allocate to.", allocatable
