"""Paths of log files: patterns, links, and what a path tells about its container."""

import functools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from glob import glob

# kubelet, pkg/kubelet/kuberuntime: /var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log
_POD_LOG = re.compile(
    r"/(?P<namespace>[^/_]+)_(?P<pod>[^/_]+)_(?P<uid>[^/_]+)/(?P<container>[^/]+)/(?P<restarts>\d+)\.log(?:[.-][^/]*)?$"
)
# … and its link /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log
_CONTAINER_LINK = re.compile(
    r"/(?P<pod>[^/_]+)_(?P<namespace>[^/_]+)_(?P<container>[^/]+)-(?P<id>[0-9a-f]{12,64})\.log$"
)
_MOST_LINKS = 16


def chain(path: str) -> list[str]:
    """The path and, where it is a link, what each link points to. Raises OSError where a link leads nowhere."""
    found = [path]
    while stat.S_ISLNK(os.lstat(found[-1]).st_mode):
        if len(found) > _MOST_LINKS:
            raise OSError(f"{path}: too many levels of links")
        found.append(os.path.normpath(os.path.join(os.path.dirname(found[-1]), os.readlink(found[-1]))))
    return found


def attributes(path_chain: Iterable[str]) -> dict[str, str]:
    """Resource attributes that the names tell, by OpenTelemetry's semantic conventions for Kubernetes.

    A pod's own path tells most (uid, restart count); the link in `/var/log/containers` tells what it can where the
    runtime's file is elsewhere (Docker).
    """
    told: dict[str, str] = {}
    for path in path_chain:
        if match := _POD_LOG.search(path):
            return {
                "k8s.namespace.name": match["namespace"],
                "k8s.pod.name": match["pod"],
                "k8s.pod.uid": match["uid"],
                "k8s.container.name": match["container"],
                "k8s.container.restart_count": match["restarts"],
            }
        if match := _CONTAINER_LINK.search(path):
            told = {
                "k8s.namespace.name": match["namespace"],
                "k8s.pod.name": match["pod"],
                "k8s.container.name": match["container"],
                "container.id": match["id"],
            }
    return told


def expand_braces(pattern: str) -> list[str]:
    """`a{b,c}` → `ab`, `ac`, as doublestar patterns have it."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [whole for choice in match[1].split(",") for whole in expand_braces(before + choice + after)]


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    out = ""
    for part in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if part == "**/":
            out += "(?:.*/)?"
        elif part == "**":
            out += ".*"
        elif part == "*":
            out += "[^/]*"
        elif part == "?":
            out += "[^/]"
        elif part[0] == "[" and len(part) > 1:
            out += "[" + ("^" + part[2:] if part[1] == "!" else part[1:])
        else:
            out += re.escape(part)
    return re.compile(out)


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of the patterns (`*` and `?` stop at slashes, `**` does not)."""
    return any(_compiled(p).fullmatch(path) for pattern in patterns for p in expand_braces(pattern))


def find(include: Iterable[str], exclude: Iterable[str]) -> Iterator[str]:
    """Paths that fit, links unresolved, each once."""
    exclude = tuple(exclude)
    seen = set()
    for pattern in include:
        for plain in expand_braces(pattern):
            for path in glob(plain, recursive="**" in plain):
                if path not in seen and not matches(path, exclude):
                    seen.add(path)
                    yield path


def folders(include: Iterable[str]) -> Iterator[str]:
    """Folders in which files or folders that fit may appear: existing ones only."""
    for pattern in include:
        for plain in expand_braces(pattern):
            parts = plain.split("/")[:-1]
            fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
            for depth in range(fixed, len(parts) + 1):
                yield from (path for path in glob("/".join(parts[:depth]) or "/") if os.path.isdir(path))


def fixed_folder(pattern: str) -> str:
    """The part of a pattern before its first wildcard, cut to a folder."""
    wild = re.search(r"[*?\[{]", pattern)
    return os.path.dirname(pattern[: wild.start()] if wild else pattern) or "/"
