"""A batch of OTLP in two halves, for who takes smaller ones: between groups, or inside a group between records."""

from hawse.batch import Batch, Group
from hawse.codecs import otlp
from hawse.wire import LENGTH, Buffer, field, walk


def halves(batch: Batch, *, by_group: bool) -> list[Batch]:
    """Two batches that together are this one, as even in bytes as their groups allow; [] where it can't be split.

    A single group is split between its records (spans, metrics) unless `by_group`. Raises WireError.
    """
    if len(batch.groups) > 1:
        at = _middle([group.nbytes for group in batch.groups])
        return [batch.with_groups(batch.groups[:at]), batch.with_groups(batch.groups[at:])]
    if by_group or not batch.groups:
        return []
    return [batch.with_groups([group]) for group in _halves(batch.groups[0], batch)]


def _middle(sizes: list[int]) -> int:
    """How many of the sizes make about half of their sum: at least one, and not all."""
    half, sum_ = sum(sizes) / 2, 0
    for number, size in enumerate(sizes, 1):
        sum_ += size
        if sum_ >= half:
            return min(number, len(sizes) - 1)
    return 1


def _halves(group: Group, batch: Batch) -> list[Group]:
    data = b"".join(group.scopes)
    fields = list(walk(data))
    scopes = [(at, behind) for number, kind, _, at, behind in fields if number == 2 and kind == LENGTH]
    rest = b"".join(data[tag:behind] for number, kind, tag, _, behind in fields if number != 2 or kind != LENGTH)
    if len(scopes) > 1:
        at = _middle([behind - start for start, behind in scopes])
        parts = [[data[a:b] for a, b in scopes[:at]], [data[a:b] for a, b in scopes[at:]]]
    elif scopes:
        parts = [[piece] for piece in _scope_halves(data[slice(*scopes[0])])]
    else:
        parts = []
    return [_group(group, batch, pieces, rest) for pieces in parts]


def _scope_halves(scope: bytes) -> list[bytes]:
    """Both keep the scope's name, attributes and schema."""
    fields = list(walk(scope))
    items = [scope[tag:behind] for number, kind, tag, _, behind in fields if number == 2 and kind == LENGTH]
    rest = b"".join(scope[tag:behind] for number, kind, tag, _, behind in fields if number != 2 or kind != LENGTH)
    if len(items) < 2:
        return []
    at = _middle(list(map(len, items)))
    return [rest + b"".join(items[:at]), rest + b"".join(items[at:])]


def _group(group: Group, batch: Batch, scopes: list[bytes], rest: bytes) -> Group:
    encoded: Buffer = b"".join(field(2, scope) for scope in scopes) + rest
    made = Group(group.resource, (encoded,), 0)
    made.items = otlp.decode(batch.signal, b"".join(made.parts())).items
    return made
