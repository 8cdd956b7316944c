"""The right name for a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], limit: int = 2) -> list[str]:
    """The names that the user may have meant, best first: other spelling, typo, beginning or part of one."""
    known = list(names)
    plain = _plain(name)
    same = [other for other in known if _plain(other) == plain]
    close = difflib.get_close_matches(name, known, n=limit, cutoff=0.7)
    # "retry" for "retry_on_failure", "includes_all" for "include": one begins with the other.
    prefix = [other for other in known if len(name) > 2 and (other.startswith(name) or name.startswith(other + "_"))]
    part = [other for other in known if len(name) > 3 and name in other.split("_")]
    loose = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    return list(dict.fromkeys([*same, *close, *prefix, *part] or loose))[:limit]


def did_you_mean(name: str, names: Iterable[str], *, what: str = "known") -> str:
    """A fix that names the nearest names, or, where none is near, all that there are."""
    known = sorted(names)
    close = nearest(name, known)
    if close:
        return "did you mean " + " or ".join(f'"{one}"' for one in close) + "?"
    return f"{what}: {', '.join(known)}" if known else ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
