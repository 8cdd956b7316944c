"""What the user writes, and what that takes."""

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from hawse import component
from hawse.component import Connects, Listens, Need, Problem, Reads, Section
from hawse.net.settings import ClientConfig, ServerConfig, split_endpoint
from hawse.prometheus import discovery
from hawse.prometheus.http_settings import HttpClientSettings, ProxySettings, client_needs, connects
from hawse.prometheus.settings import ScrapeConfig, ScrapeConfigs
from hawse.prometheus.targets import Populate, Target
from hawse.prometheus.values import PromDuration
from hawse.values import ByteSize, Duration

# Labels by which a series says which pod it is about.
RESOURCE_LABELS = {
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
    "node": "k8s.node.name",
}


class AllocatorSD(HttpClientSettings, frozen=True):
    """How targets are asked for, where that differs from how the allocator is asked for jobs."""

    refresh_interval: Annotated[PromDuration, Meta(gt=0)] = PromDuration(30)


class TargetAllocator(ClientConfig, frozen=True):
    """Jobs and targets from a target allocator, this project's or the OpenTelemetry operator's."""

    endpoint: Annotated[str, Meta(min_length=1)]
    interval: Annotated[Duration, Meta(gt=0, description="Between two questions for jobs.")] = Duration(30)
    collector_id: Annotated[
        str, Meta(description="Who we are to it: the pod's name. The host's name if not given.")
    ] = ""
    http_sd_config: AllocatorSD | None = None
    http_scrape_config: Annotated[
        HttpClientSettings | None, Meta(description="Credentials and TLS for all its jobs, in place of theirs.")
    ] = None

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if "${" in self.collector_id:
            yield Problem("collector_id", "an environment variable was not replaced in it", "write ${env:POD_NAME}")
        for key in ("http_sd_config", "http_scrape_config"):
            yield from _proxy_problems(getattr(self, key) or HttpClientSettings(), key)

    @property
    def collector(self) -> str:
        """The id to ask with."""
        return self.collector_id or socket.gethostname()


class ApiServer(Section, frozen=True):
    """The part of Prometheus' own API that is about scraping: `/api/v1/targets`, `/api/v1/scrape_pools`."""

    enabled: bool = False
    server_config: ServerConfig = field(default_factory=lambda: ServerConfig(endpoint="localhost:9090"))


class Config(component.Config, frozen=True):
    """Scrapes targets as Prometheus does, by its own configuration."""

    config: ScrapeConfigs = field(default_factory=ScrapeConfigs)
    target_allocator: TargetAllocator | None = None
    api_server: ApiServer = field(default_factory=ApiServer)
    report_extra_scrape_metrics: Annotated[
        bool, Meta(description="Older name of config.global.extra_scrape_metrics.")
    ] = False
    trim_metric_suffixes: Annotated[bool, Meta(description="Must be false: names stay as the target has them.")] = False
    resource_labels: Annotated[
        dict[str, str],
        Meta(description="Labels of series that say what they are about, and the resource attributes they become."),
    ] = field(default_factory=lambda: dict(RESOURCE_LABELS))
    max_body_size: Annotated[
        ByteSize, Meta(gt=0, description="Of an answer, uncompressed, for jobs that set no body_size_limit.")
    ] = ByteSize(64 << 20)

    def problems(self) -> Iterator[Problem]:
        config = self.config
        if not (config.scrape_configs or config.scrape_config_files or self.target_allocator):
            fix = "write config.scrape_configs, config.scrape_config_files or target_allocator"
            yield Problem("", "there is nothing to scrape", fix)
        if self.trim_metric_suffixes:
            message = "names stay as the target has them, so that they come out as Prometheus would have them"
            yield Problem(
                "trim_metric_suffixes", message, "remove it, and rename with metric_relabel_configs if need be"
            )
        for number, job in enumerate(config.scrape_configs):
            yield from job_problems(job, f"config.scrape_configs[{number}]")


def job_problems(job: ScrapeConfig, path: str) -> Iterator[Problem]:
    """What Prometheus could do, and we can't."""
    yield from _proxy_problems(job, path)
    for key in ("http_sd_configs", "kubernetes_sd_configs"):
        for number, one in enumerate(getattr(job, key)):
            yield from _proxy_problems(one, f"{path}.{key}[{number}]")


def _proxy_problems(settings: HttpClientSettings, path: str) -> Iterator[Problem]:
    parts: list[tuple[str, ProxySettings | None]] = [(path, settings), (f"{path}.oauth2", settings.oauth2)]
    for place, one in parts:
        for key in ("proxy_url", "proxy_from_environment"):
            if one is not None and getattr(one, key):
                fix = "remove it, and let the targets be reached directly"
                yield Problem(f"{place}.{key}", "scraping through a proxy is not supported", fix)


# --- needs ----------------------------------------------------------------------------------------------------------


def needs(config: Config) -> Iterator[Need]:
    """Hosts of static targets and of the allocator, what discovery takes, files of credentials."""
    found: dict[Need, None] = {}
    for need in _all_needs(config):
        found[need] = None
    yield from found


def _all_needs(config: Config) -> Iterator[Need]:
    for job in config.config.jobs():
        yield from _targets_of(job)
        yield from discovery.needs(job)
        yield from client_needs(job, f"credentials of job {job.job_name}")
    for path in config.config.scrape_config_files:
        yield Reads(path, "scrape configurations")
    if config.target_allocator is not None:
        yield from _allocator(config.target_allocator)
    if config.api_server.enabled:
        yield from _api_server(config.api_server.server_config)


def _targets_of(job: ScrapeConfig) -> Iterator[Need]:
    """A rule may make another address of the one that is written, so they are all applied."""
    populate = Populate(job)
    for static in job.static_configs:
        shared = {name: str(value) for name, value in static.labels.items()}
        for address in static.targets:
            target = populate({"__address__": address}, shared)
            if isinstance(target, Target):
                with contextlib.suppress(ValueError):  # a port that is none: it is told when the target is scraped
                    yield connects(str(target.url), f"scrape job {job.job_name}")
    if job.file_sd_configs or job.http_sd_configs or job.kubernetes_sd_configs:
        yield Connects("", 0, "tcp", f"scrape what is discovered for job {job.job_name}")


def _allocator(allocator: TargetAllocator) -> Iterator[Need]:
    yield connects(allocator.endpoint, "target allocator")
    yield Connects("", 0, "tcp", "scrape what the target allocator assigns")
    for path in (allocator.tls.ca_file, allocator.tls.cert_file, allocator.tls.key_file):
        if path:
            yield Reads(path, "TLS")
    for settings in (allocator.http_sd_config, allocator.http_scrape_config):
        if settings is not None:
            yield from client_needs(settings, "credentials")


def _api_server(server: ServerConfig) -> Iterator[Need]:
    host, port = split_endpoint(server.endpoint)
    yield Listens(port, "tcp", "Prometheus API", host or "0.0.0.0")
    tls = server.tls
    for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if path:
            yield Reads(path, "TLS")


def legible(name: str) -> str:
    """A job's name as part of a log line."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", name)[:200]
