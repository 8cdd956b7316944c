"""What two servers have stored of the same targets: the same series, the same values in the same order."""

from itertools import pairwise

# They say how a scrape went, and no two scrapes go alike.
_TIMED = frozenset({"scrape_duration_seconds"})


def name(labels):
    return dict(labels)["__name__"]


def runs(samples):
    """The values in order of time, each run of equal values once: two scrapers ask at their own moments."""
    values = [value for _, value in sorted(samples, key=lambda sample: sample[0])]
    return [value for before, value in pairwise([object(), *values]) if before != value]


def differences(direct, through, *, skip=_TIMED, most=10):
    """Lines for people: series that only one has, and series whose values differ. [] if all is the same."""
    found = [
        f"only direct: {_text(labels)} {runs(direct[labels])[:5]}" for labels in sorted(direct.keys() - through.keys())
    ]
    found += [
        f"only through Hawse: {_text(labels)} {runs(through[labels])[:5]}"
        for labels in sorted(through.keys() - direct.keys())
    ]
    for labels in sorted(direct.keys() & through.keys()):
        if name(labels) not in skip and (a := runs(direct[labels])) != (b := runs(through[labels])):
            found.append(f"{_text(labels)}: {a[:8]} direct, {b[:8]} through Hawse")
    return found[:most] + ([f"… and {len(found) - most} more"] if len(found) > most else [])


def steady_differences(direct, through):
    """For targets whose values change from scrape to scrape: the same series; and where one did not change over all the
    time that it was scraped directly, it has that value through Hawse in that time. What goes up and down again between
    two scrapes is seen by one of the two only: then it must have that value, too, and there may be few such series."""
    inside = {}
    for labels, samples in direct.items():
        first, last = min(samples)[0], max(samples)[0]
        inside[labels] = [sample for sample in through.get(labels, ()) if first <= sample[0] <= last]
    steady = {labels for labels, samples in direct.items() if len(runs(samples)) == 1 and inside[labels]}
    flickers = {labels for labels in steady if len(runs(inside[labels])) > 1}
    for labels in flickers if len(flickers) <= len(steady) // 50 else ():
        if direct[labels][0][1] in runs(inside[labels]):
            steady.remove(labels)
    names = dict.fromkeys(direct, ()), dict.fromkeys(through, ())
    return differences(*names) + differences({k: direct[k] for k in steady}, {k: inside[k] for k in steady})


def _text(labels):
    rest = ",".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
    return f"{name(labels)}{{{rest}}}"
