"""Making jobs so that what is wrong with a part is said of that part, and the others are made."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from hawse.allocator.crd import Document, Job, Origin, rules
from hawse.allocator.crd.fields import RelabelRule
from hawse.allocator.safety import Refusal
from hawse.allocator.select import LabelSelector

_WRONG = (Refusal, ValueError, msgspec.MsgspecError, RecursionError)


def each(
    name: str,
    origin: Origin,
    make: Callable[[], Document],
    notes: tuple[str, ...] = (),
    selector: LabelSelector | None = None,
) -> Job:
    """A job, or why there is none."""
    namespaces = (origin.namespace,)
    try:
        return Job(name, origin, {"job_name": name, **make()}, namespaces, notes=notes, selector=selector)
    except _WRONG as problem:
        return Job(name, origin, {}, namespaces, refused=str(problem))


def whole(name: str, origin: Origin, make: Callable[[], Iterator[Job]]) -> Iterator[Job]:
    """All jobs of a monitor; a single one that is refused where its specification can't be read."""
    try:
        made = list(make())
    except _WRONG as problem:
        yield Job(name, origin, {}, (origin.namespace,), refused=f"spec: {problem}")
        return
    yield from made or [Job(name, origin, {}, (origin.namespace,), refused="it has no endpoints")]


def metric_rules(given: Iterable[RelabelRule] | None) -> Document:
    """`metric_relabel_configs`, where there are any."""
    made = rules.own(given)
    return {"metric_relabel_configs": made} if made else {}


def static(targets: Iterable[str], labels: Mapping[str, str]) -> Document:
    """An entry of `static_configs`. Raises Refusal for labels that only discovery may give."""
    for name in labels:
        if name.startswith("__meta_") or name == "__address__":
            raise Refusal(f"the label {name} says what was discovered, and can't be given")
    return {"targets": list(targets), "labels": dict(labels)}
