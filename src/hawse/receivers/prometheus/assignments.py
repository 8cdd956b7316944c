"""What a target allocator says, in the JSON of the OpenTelemetry operator's (cmd/otel-allocator/internal/server)."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from hawse.component import Problem
from hawse.config.decode import FAILED, Decoder
from hawse.config.tree import Node, find
from hawse.prometheus.http_settings import HttpClientSettings
from hawse.prometheus.settings import GlobalConfig, ScrapeConfig, job_problems
from hawse.prometheus.targets import TargetGroup
from hawse.receivers.prometheus import config

if TYPE_CHECKING:
    from hawse.diagnostics import Finding

_SHARD = b"$(SHARD)"  # of the Prometheus operator's rules, which its own pods have replaced
_UNKNOWN_KEY = "HW104"
_TRIES = 20  # unknown keys inside of each other


class Item(msgspec.Struct):
    """Of a list of targets, as HTTP discovery has it."""

    targets: list[str]
    labels: dict[str, str] = {}


class Assigned(msgspec.Struct):
    """One collector's part of a job."""

    targets: list[Item] | None = None


_jobs = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(Item)
_everybody = msgspec.json.Decoder(dict[str, Assigned])


class JobError(ValueError):
    """A job that cannot be run."""


def jobs(body: bytes) -> dict[str, bytes]:
    """The answer of /scrape_configs: jobs by name, each as its own JSON. Raises ValueError."""
    shard = os.environ.get("SHARD", "0").encode()
    return {name: bytes(raw) for name, raw in _jobs.decode(body.replace(_SHARD, shard)).items()}


def job(
    name: str, raw: bytes, above: GlobalConfig, override: HttpClientSettings | None = None
) -> tuple[ScrapeConfig, tuple[str, ...]]:
    """A job, and the keys in it that are not known here: they are left out. Raises JobError.

    Where its targets come from is the allocator's affair: `…_sd_configs` are left out, too. `override` replaces how
    targets are asked.
    """
    try:
        found = msgspec.json.decode(raw)
    except ValueError as error:
        raise JobError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise JobError("it is no map")
    kept = {key: value for key, value in found.items() if not key.endswith("_sd_configs") and key != "static_configs"}
    made, left_out = _decoded(_node({**kept, "job_name": name}))
    if override is not None:
        fields = {key: getattr(override, key) for key in HttpClientSettings.__struct_fields__}
        made = msgspec.structs.replace(made, **fields)
    problems = [*job_problems(made, above, ""), *config.job_problems(made, "")]
    if problems:
        raise JobError("; ".join(map(_told, problems)))
    return made, left_out


def _decoded(node: Node) -> tuple[ScrapeConfig, tuple[str, ...]]:
    left_out: list[str] = []
    findings: list[Finding] = []
    for _ in range(_TRIES):
        findings = []
        made = Decoder(findings).struct(node, ScrapeConfig, "")
        if made is not FAILED:
            return made, tuple(left_out)
        unknown = [finding.where.path for finding in findings if finding.code == _UNKNOWN_KEY]
        if not unknown:
            break
        for path in unknown:
            _drop(node, path)
        left_out += unknown
    raise JobError("; ".join(f"{finding.where.path}: {finding.message}" for finding in findings))


def _drop(root: Node, path: str) -> None:
    above, _, key = path.rpartition(".")
    find(root, above).entries.pop(key, None)


def _told(problem: Problem) -> str:
    return f"{problem.path.removeprefix('.')}: {problem.message}"


def _node(value: Any) -> Node:
    if isinstance(value, dict):
        return Node({key: _node(one) for key, one in value.items()})
    if isinstance(value, list):
        return Node([_node(one) for one in value])
    return Node(value)


class Targets:
    """The targets of a job that are ours. Each is a group by itself, so that those that stay are left alone."""

    def __init__(self) -> None:
        self._sources: set[str] = set()

    def changes(self, body: bytes) -> list[TargetGroup]:
        """What is new or gone in an answer of /jobs/…/targets?collector_id=…. Raises ValueError, changing nothing."""
        changed = []
        sources = set()
        for raw in _items.decode(body):
            source = hashlib.blake2b(raw, digest_size=16).hexdigest()
            if source in sources:
                continue
            sources.add(source)
            if source not in self._sources:
                item = _item.decode(raw)
                addresses = tuple({"__address__": address} for address in item.targets)
                changed.append(TargetGroup(source, addresses, item.labels))
        changed += [TargetGroup(source) for source in self._sources - sources]
        self._sources = sources
        return changed


def has(body: bytes, own: Mapping[str, str], shared: Mapping[str, str]) -> bool:
    """Whether a target is in an answer of /jobs/…/targets, which lists those of all collectors. Raises ValueError."""
    address = own.get("__address__", "")
    return any(_in(assigned.targets or (), address, shared) for assigned in _everybody.decode(body).values())


def _in(items: Sequence[Item], address: str, labels: Mapping[str, str]) -> bool:
    return any(address in item.targets and item.labels == labels for item in items)
