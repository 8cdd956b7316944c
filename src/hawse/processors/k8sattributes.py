"""The `k8sattributes` processor: names the pod that telemetry comes from, and says what Kubernetes knows of it.

Keys and attributes are those of the OpenTelemetry Collector's processor of this name. Records are never looked at.
docs/kubernetes-metadata.md tells users what differs: less permission, a bounded hold for pods not known yet, and a
start that does not need the API server.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse import component
from hawse.batch import Batch, Group, Resource
from hawse.component import Calls, Consumer, Context, Need, Problem, ProcessorFactory, Section
from hawse.kube import access, association, rules
from hawse.kube.access import Auth
from hawse.kube.association import CONNECTION, Association, Sought
from hawse.kube.enrich import Enricher, add
from hawse.kube.patience import Patience
from hawse.kube.pods import Wanted
from hawse.kube.rules import DEFAULT_METADATA, Rules
from hawse.kube.settings import Extract, Filter, PodAssociation
from hawse.kube.watches import Scope, Watches, calls
from hawse.values import ByteSize, Duration, Regex

# --- what the user writes ---------------------------------------------------------------------------------------------


class ExcludedPod(Section, frozen=True):
    """Pods to leave alone: `name` may match anywhere in the pod's name."""

    name: Regex


class Exclude(Section, frozen=True):
    """Pods whose telemetry passes unchanged."""

    pods: tuple[ExcludedPod, ...] = (
        ExcludedPod(Regex.parse("jaeger-agent")),
        ExcludedPod(Regex.parse("jaeger-collector")),
    )


class Hold(Section, frozen=True):
    """What happens to telemetry of a pod that is not known (yet): it waits, bounded, and is then passed on as it is."""

    timeout: Annotated[Duration, Meta(description="Longest wait once the first list of pods is complete.")] = Duration(
        2
    )
    first_timeout: Annotated[Duration, Meta(description="Longest wait before that.")] = Duration(5)
    max_bytes: Annotated[ByteSize, Meta(description="What may wait at a time. More is passed on at once.")] = ByteSize(
        32 << 20
    )


class Config(component.Config, frozen=True):
    """Adds what Kubernetes knows of a pod to the resource that the pod's telemetry has."""

    auth_type: Literal["serviceAccount", "kubeConfig", "none"] = "serviceAccount"
    context: Annotated[str, Meta(description="With kubeConfig: another context than the current one.")] = ""
    kube_config_path: Annotated[
        str, Meta(description="With kubeConfig: the file. Empty: KUBECONFIG, ~/.kube/config")
    ] = ""
    passthrough: Annotated[bool, Meta(description="Only add the peer's address as k8s.pod.ip; no API access.")] = False
    extract: Extract = field(default_factory=Extract)
    filter: Filter = field(default_factory=Filter)
    pod_association: Annotated[
        tuple[PodAssociation, ...],
        Meta(description="Default: k8s.pod.uid; k8s.pod.name and k8s.namespace.name; k8s.pod.ip; connection."),
    ] = ()
    exclude: Exclude = field(default_factory=Exclude)
    wait_for_metadata: Annotated[bool, Meta(description="Start receiving only when the first list is complete…")] = (
        False
    )
    wait_for_metadata_timeout: Annotated[Duration, Meta(description="…or this much time has passed.")] = Duration(10)
    pod_delete_grace_period: Annotated[Duration, Meta(description="How long deleted pods are remembered.")] = Duration(
        120
    )
    watch_sync_period: Duration | None = None
    hold: Hold = field(default_factory=Hold)

    def problems(self) -> Iterator[Problem]:
        if self.auth_type != "kubeConfig":
            for name in ("context", "kube_config_path"):
                if getattr(self, name):
                    yield Problem(name, "counts with auth_type: kubeConfig only", "set auth_type: kubeConfig")
        if self.watch_sync_period is not None:
            message = "there is no cache here that would have to be replayed: events are applied as they come"
            yield Problem("watch_sync_period", message, "remove the key")
        for number, one in enumerate(self.pod_association):
            for index, name in enumerate(one.names):
                if not self._associates(name):
                    path = f"pod_association[{number}].sources[{index}].name"
                    fix = "name a pod's attribute that extract.metadata or a label rule gives, or container.id"
                    yield Problem(path, f'no pod can be found by "{name}"', fix)

    def _associates(self, name: str) -> bool:
        always = {CONNECTION, "container.id", "host.name", "k8s.pod.ip", "k8s.pod.uid", "k8s.pod.name"}
        if name in always | {"k8s.namespace.name"} or name in rules.POD_METADATA.intersection(self.extract.metadata):
            return True
        copied = [one for one in (*self.extract.labels, *self.extract.annotations) if one.from_ == "pod"]
        return (
            self.extract.otel_annotations
            or any(one.key_regex or one.tag_name == name for one in copied)
            or any(name.startswith(("k8s.pod.labels.", "k8s.pod.annotations.")) and not one.tag_name for one in copied)
        )

    @property
    def auth(self) -> Auth:
        """How to reach the API server."""
        return Auth(self.auth_type, self.context, self.kube_config_path)

    @property
    def rules(self) -> Rules:
        """What to make of a pod."""
        extract = self.extract
        return Rules(
            frozenset(extract.metadata or DEFAULT_METADATA),
            tuple(one.rule for one in extract.labels),
            tuple(one.rule for one in extract.annotations),
            otel_annotations=extract.otel_annotations,
        )

    @property
    def associations(self) -> tuple[Association, ...]:
        """How to find the pod."""
        return tuple(one.names for one in self.pod_association) or association.DEFAULT


# --- what it may touch ------------------------------------------------------------------------------------------------


def needs(config: Config) -> Iterator[Need]:
    """The API server, and list and watch of exactly what the rules read."""
    if config.passthrough:
        return
    yield from access.needs(config.auth)
    for kind, call in calls(Scope(config.filter.namespace), config.rules.kinds):
        purpose = "pods' metadata" if kind == "pod" else f"{kind} labels, annotations or uid"
        yield Calls(call.group, call.resource, ("list", "watch"), call.namespace or "cluster", purpose)


# --- what it does -----------------------------------------------------------------------------------------------------


class K8sAttributes(component.Processor):
    """Adds the pod's attributes to each group's resource.

    A batch stays one batch: if one of its pods is not known yet, the whole of it waits (`hold`), so that an answer
    of Busy never makes the sender repeat a part that was delivered. Groups of one resource keep their order.
    """

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._config = config
        self._context = context
        self._output = output
        meter, prefix = context.meter, "processor_k8sattributes"
        self._found = meter.counter(f"{prefix}_pod_association_success", "Resources whose pod was found.")
        self._unfound = meter.counter(f"{prefix}_pod_association_error", "Resources whose pod was not found.")
        self._unenriched = meter.counter(
            f"{prefix}_unenriched_items",
            "Records, points or spans passed on without their pod's attributes, by reason.",
        )
        self._patience = Patience(config.hold.first_timeout, config.hold.timeout, config.hold.max_bytes)
        meter.gauge(f"{prefix}_held_bytes", "What waits for its pod to be known.", lambda: self._patience.held)
        self._watches: Watches | None = None
        if not config.passthrough:
            self._join(context)

    def _join(self, context: Context) -> None:
        config, made = self._config, self._config.rules
        wanted = made.wanted()
        if any("container.id" in one for one in config.associations):
            wanted |= Wanted(containers=True)
        kinds = {kind: made.wanted(kind) for kind in made.kinds}
        self._watches = context.shared(Watches)
        scope = config.filter.scope()
        self._watch = self._watches.join(config.auth, scope, wanted, kinds, config.pod_delete_grace_period)
        excluded = tuple(one.name.compiled for one in config.exclude.pods)
        self._enricher = Enricher(self._watch, made, config.associations, excluded)
        self._watch.pods.watchers.append(self._counting("pod"))
        for kind in kinds:
            self._watch.related[kind].watchers.append(self._counting(kind))
        meter = context.meter
        meter.gauge("otelsvc_k8s_pod_table_size", "Pods known.", lambda: len(self._watch.pods))
        meter.gauge(
            "processor_k8sattributes_synced", "Whether the first lists are complete.", lambda: self._watch.synced
        )

    def _counting(self, kind: str) -> Callable[[str], None]:
        counters = {
            what: self._context.meter.counter(f"otelsvc_k8s_{kind}_{what}", f"{kind.capitalize()} {what} events.")
            for what in ("added", "updated", "deleted")
        }
        return lambda what: counters[what].add(1)

    async def start(self) -> None:
        """Begin to watch. The API server need not be there: with `wait_for_metadata` it gets some time to be."""
        if self._watches is None:
            return
        await self._watch.start()
        if self._config.wait_for_metadata:
            limit = self._config.wait_for_metadata_timeout
            try:
                async with asyncio.timeout(limit):
                    await self._watch.wait_synced()
            except TimeoutError:
                why = self._watch.error or "the API server has not answered yet"
                self._context.log.warning("no metadata after %s, starting without: %s", limit, why)

    async def stop(self) -> None:
        """End the watch, if no other processor shares it."""
        watches, self._watches = self._watches, None
        if watches is not None:
            self._enricher.close()
            await watches.leave(self._watch)

    async def consume(self, batch: Batch) -> None:
        """Enrich and hand on; waits for pods that are not known yet, within the bounds of `hold`."""
        if self._config.passthrough:
            await self._output.consume(_with_peer(batch))
            return
        groups = list(batch.groups)
        missing = self._enrich(groups, range(len(groups)), batch.peer)
        if missing:
            missing = await self._hold(batch, groups, missing)
        signal = batch.signal.value
        if found := len(groups) - len(missing):
            self._found.add(found, k8s_telemetry_type=signal)
        if missing:
            self._unfound.add(len(missing), k8s_telemetry_type=signal)
        await self._output.consume(batch.with_groups(groups))

    def _enrich(self, groups: list[Group], places: Iterable[int], peer: str) -> dict[int, Sought]:
        """Replace groups by enriched ones; return the places of those whose pod is unknown."""
        missing = {}
        known = self._enricher.known
        for place in places:
            group = groups[place]
            made = known(group.resource, peer)
            if isinstance(made, Resource):
                groups[place] = Group(made, group.scopes, group.items)
            else:
                missing[place] = made
        return missing

    async def _hold(self, batch: Batch, groups: list[Group], missing: dict[int, Sought]) -> dict[int, Sought]:
        """Wait for unknown pods where that may help, and pass the others on as they are. Returns those not found."""
        awaited = {
            (sought.table, sought.key)
            for sought in missing.values()
            if sought.table is not None and self._patience.hopeful((sought.table, sought.key))
        }
        reason = "unknown_pod"
        if awaited:
            waited = await self._patience.wait(
                awaited, batch.nbytes, lambda: self._watch.synced, self._watch.wait_synced
            )
            reason = reason if waited else "hold_full"
            missing = self._enrich(groups, missing, batch.peer)
        for place, sought in missing.items():
            why = reason if sought.table is not None else "no_association"
            self._unenriched.add(groups[place].items, reason=why)
            groups[place] = groups[place].with_resource(self._enricher.without_pod(groups[place].resource))
        return missing


def _with_peer(batch: Batch) -> Batch:
    """With k8s.pod.ip on every resource that has none: `passthrough`."""
    peer = association.address(batch.peer)
    if peer is None:
        return batch
    return batch.with_groups(group.with_resource(add(group.resource, {"k8s.pod.ip": peer})) for group in batch.groups)


factory = ProcessorFactory("k8sattributes", Config, K8sAttributes, needs=needs)
