"""prometheus-operator's objects as scrape configurations: ServiceMonitor, PodMonitor, Probe and ScrapeConfig.

One kind a file, each with the fields it reads and `jobs`, which makes a `Job` of each of its endpoints. Fields are
those of the CRDs (prometheus-operator.dev/docs/api-reference/api); names of jobs, the labels that targets get and the
meaning of selectors are prometheus-operator's, so that what was scraped by Prometheus is found under the same labels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from hawse.allocator.safety import Guard
from hawse.allocator.select import LabelSelector, Limits
from hawse.kube.objects import ObjectMeta

Document: TypeAlias = dict[str, Any]  # a scrape configuration with Prometheus' keys, as out of YAML
Lookup: TypeAlias = Callable[[str, str, str], str]  # namespace, name and key of a Secret; raises Refusal


class Origin(msgspec.Struct, frozen=True):
    """Where a job comes from. `kind` is "configuration" for those of the allocator's own."""

    kind: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"the {self.kind} {self.name}".strip()


class Job(msgspec.Struct, frozen=True):
    """A scrape configuration to be, or the reason why there will be none (`refused`).

    `notes` say what was changed for safety's sake. `namespaces` are those whose Services its targets may be.
    `selector` is what the rules in the document begin with: what it does not select need not go through them.
    `guarded` jobs have the addresses of their targets held against `safety.Allow`.
    """

    name: str
    origin: Origin
    document: Document
    namespaces: tuple[str, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    guarded: bool = True


class Rights(msgspec.Struct, frozen=True):
    """What monitors are held against, and where the Secrets and ConfigMaps come from that they may name."""

    guard: Guard
    limits: Limits
    secret: Lookup
    config_map: Lookup
    ignore_namespace_selectors: bool = False
    interval: str = ""  # where a monitor names none
    roles: tuple[str, ...] = ()  # that ScrapeConfigs may discover by


class Monitor(msgspec.Struct, gc=False):
    """Any of the four: the specification is decoded by its kind, so that one that is wrong is one that is refused."""

    metadata: ObjectMeta
    spec: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def namespace(self) -> str:
        """Where it is."""
        return self.metadata.namespace or ""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.metadata.labels or {}


Convert: TypeAlias = Callable[[Monitor, Rights], Iterator[Job]]
