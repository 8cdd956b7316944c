"""Prometheus' scrape configuration: `global`, `scrape_configs` and all that is in them, with its own refusals.

prometheus.io/docs/prometheus/latest/configuration, "scrape_config". What a job leaves out it takes from `global`, and
what that leaves out from Prometheus' defaults: `ScrapeConfigs.jobs()` gives jobs that have everything.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from hawse.component import Problem, Section
from hawse.prometheus.http_settings import HttpClientSettings
from hawse.prometheus.relabel import RelabelConfig
from hawse.prometheus.sd_settings import FileSDConfig, HttpSDConfig, KubernetesSDConfig, StaticConfig
from hawse.prometheus.values import Base2Bytes, PromDuration, Text

Protocol = Literal[
    "PrometheusProto", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusText0.0.4", "PrometheusText1.0.0"
]
ValidationScheme = Literal["utf8", "legacy", ""]
EscapingScheme = Literal["allow-utf-8", "underscores", "dots", "values", ""]

DEFAULT_PROTOCOLS: tuple[Protocol, ...] = (
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
)
PROTO_FIRST: tuple[Protocol, ...] = ("PrometheusProto", *DEFAULT_PROTOCOLS)

Limit = Annotated[int, Meta(ge=0)]


# Bounds that a job can have, and `global` for all jobs.
BodySize = Annotated[Base2Bytes, Meta(description="Of an answer, uncompressed. KB is 1024 bytes. 0 is no limit.")]
Samples = Annotated[int, Meta(ge=0, description="Samples of a scrape, after metric_relabel_configs. 0 is no limit.")]
Targets = Annotated[int, Meta(ge=0, description="Targets of a job, after relabel_configs. 0 is no limit.")]
Remembered = Annotated[int, Meta(ge=0, description="Dropped targets kept to be shown. 0 is no limit.")]
LIMITS = (
    "body_size_limit",
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
    "keep_dropped_targets",
)


class GlobalConfig(Section, frozen=True):
    """What counts for every job that does not say otherwise."""

    scrape_interval: PromDuration = PromDuration(60)
    scrape_timeout: Annotated[PromDuration, Meta(description="0: 10s, or the interval if that is shorter.")] = (
        PromDuration(0)
    )
    scrape_protocols: tuple[Protocol, ...] | None = None
    scrape_native_histograms: bool = False
    convert_classic_histograms_to_nhcb: bool = False
    always_scrape_classic_histograms: bool = False
    body_size_limit: BodySize = Base2Bytes(0)
    sample_limit: Samples = 0
    label_limit: Limit = 0
    label_name_length_limit: Limit = 0
    label_value_length_limit: Limit = 0
    target_limit: Targets = 0
    keep_dropped_targets: Remembered = 0
    metric_name_validation_scheme: ValidationScheme = "utf8"
    metric_name_escaping_scheme: EscapingScheme = ""
    external_labels: dict[str, Text] = field(default_factory=dict)
    extra_scrape_metrics: bool = False
    scrape_failure_log_file: Annotated[str, Meta(description="Accepted, of no effect: failures are logged.")] = ""
    evaluation_interval: Annotated[PromDuration, Meta(description="Accepted, of no effect: no rules here.")] = (
        PromDuration(60)
    )
    rule_query_offset: Annotated[PromDuration, Meta(description="Accepted, of no effect.")] = PromDuration(0)
    query_log_file: Annotated[str, Meta(description="Accepted, of no effect.")] = ""

    def problems(self) -> Iterator[Problem]:
        if self.scrape_timeout > self.interval:
            yield Problem("scrape_timeout", "global scrape timeout greater than scrape interval", "lower it")
        yield from _protocol_problems(self.scrape_protocols)

    @property
    def interval(self) -> PromDuration:
        """The interval; 0 is the default's."""
        return self.scrape_interval or PromDuration(60)

    @property
    def timeout(self) -> PromDuration:
        """The timeout; 0 is the default's."""
        return self.scrape_timeout or min(PromDuration(10), self.interval)

    @property
    def scheme(self) -> ValidationScheme:
        """Which names are valid."""
        return self.metric_name_validation_scheme or "utf8"


class ScrapeConfig(HttpClientSettings, frozen=True, kw_only=True):
    """A job: where its targets are, how they are asked, and what is made of the answers."""

    job_name: Annotated[str, Meta(min_length=1)]
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    params: dict[str, tuple[Text, ...]] = field(default_factory=dict)
    scrape_interval: Annotated[PromDuration, Meta(description="0: that of global.")] = PromDuration(0)
    scrape_timeout: Annotated[PromDuration, Meta(description="0: that of global, or the interval if shorter.")] = (
        PromDuration(0)
    )
    scrape_protocols: tuple[Protocol, ...] | None = None
    fallback_scrape_protocol: Protocol | Literal[""] = ""
    scrape_native_histograms: bool | None = None
    always_scrape_classic_histograms: bool | None = None
    scrape_classic_histograms: Annotated[
        bool | None, Meta(description="Its name in Prometheus 2: always_scrape_classic_histograms.")
    ] = None
    convert_classic_histograms_to_nhcb: bool | None = None
    scrape_failure_log_file: Annotated[str, Meta(description="Accepted, of no effect: failures are logged.")] = ""
    metrics_path: str = "/metrics"
    scheme: Literal["http", "https"] = "http"
    enable_compression: bool = True
    body_size_limit: BodySize = Base2Bytes(0)
    sample_limit: Samples = 0
    label_limit: Limit = 0
    label_name_length_limit: Limit = 0
    label_value_length_limit: Limit = 0
    target_limit: Targets = 0
    keep_dropped_targets: Remembered = 0
    native_histogram_bucket_limit: Limit = 0
    native_histogram_min_bucket_factor: Annotated[float, Meta(ge=0)] = 0.0
    metric_name_validation_scheme: ValidationScheme = ""
    metric_name_escaping_scheme: EscapingScheme = ""
    extra_scrape_metrics: bool | None = None
    static_configs: tuple[StaticConfig, ...] = ()
    file_sd_configs: tuple[FileSDConfig, ...] = ()
    http_sd_configs: tuple[HttpSDConfig, ...] = ()
    kubernetes_sd_configs: tuple[KubernetesSDConfig, ...] = ()
    relabel_configs: tuple[RelabelConfig, ...] = ()
    metric_relabel_configs: tuple[RelabelConfig, ...] = ()

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.scrape_interval and self.scrape_timeout > self.scrape_interval:
            message = f'scrape timeout greater than scrape interval for the job "{self.job_name}"'
            yield Problem("scrape_timeout", message, f"at most {self.scrape_interval}")
        yield from _protocol_problems(self.scrape_protocols)
        if self.metric_name_validation_scheme == "legacy":
            if self.metric_name_escaping_scheme == "allow-utf-8":
                message = "utf8 metric names requested but validation scheme is not set to utf8"
                yield Problem("metric_name_escaping_scheme", message, 'write "underscores"')
            yield from self.name_problems("legacy")
        if not self.relabel_configs:
            yield from self._address_problems()

    def name_problems(self, scheme: ValidationScheme) -> Iterator[Problem]:
        """Rules that make names which this scheme does not allow."""
        for key in ("relabel_configs", "metric_relabel_configs"):
            for number, rule in enumerate(getattr(self, key)):
                known = set(rule.problems())
                for problem in rule.problems_under(scheme):
                    if problem not in known:
                        path = f"{key}[{number}].{problem.path}"
                        yield msgspec.structs.replace(problem, path=path)

    def _address_problems(self) -> Iterator[Problem]:
        """Without rules that could mend it, a URL in place of an address is a mistake."""
        for number, static in enumerate(self.static_configs):
            for index, target in enumerate(static.targets):
                if "/" in target:
                    path = f"static_configs[{number}].targets[{index}]"
                    fix = 'write "host:port"; scheme and path have keys of their own (scheme, metrics_path)'
                    yield Problem(path, f'"{target}" is not a valid hostname', fix)

    def filled(self, above: GlobalConfig) -> "ScrapeConfig":
        """The job with everything that it takes from `global`: nothing of it is None or "not said" any more."""
        interval = self.scrape_interval or above.interval
        native = _first(self.scrape_native_histograms, above.scrape_native_histograms)
        protocols = self.scrape_protocols or above.scrape_protocols or (PROTO_FIRST if native else DEFAULT_PROTOCOLS)
        classic = _first(self.always_scrape_classic_histograms, self.scrape_classic_histograms)
        return msgspec.structs.replace(
            self,
            **{key: getattr(self, key) or getattr(above, key) for key in LIMITS},
            scrape_interval=interval,
            scrape_timeout=self.scrape_timeout or min(above.timeout, interval),
            scrape_protocols=protocols,
            scrape_native_histograms=native,
            always_scrape_classic_histograms=_first(classic, above.always_scrape_classic_histograms),
            convert_classic_histograms_to_nhcb=_first(
                self.convert_classic_histograms_to_nhcb, above.convert_classic_histograms_to_nhcb
            ),
            extra_scrape_metrics=_first(self.extra_scrape_metrics, above.extra_scrape_metrics),
            metric_name_validation_scheme=self.metric_name_validation_scheme or above.scheme,
            metric_name_escaping_scheme=self._escaping(above),
        )

    def _escaping(self, above: GlobalConfig) -> EscapingScheme:
        if self.metric_name_escaping_scheme:
            return self.metric_name_escaping_scheme
        if not self.metric_name_validation_scheme and above.metric_name_escaping_scheme:
            return above.metric_name_escaping_scheme
        return "underscores" if (self.metric_name_validation_scheme or above.scheme) == "legacy" else "allow-utf-8"


def _first(own: bool | None, above: bool | None) -> bool | None:  # noqa: FBT001
    return above if own is None else own


def _protocol_problems(protocols: tuple[str, ...] | None) -> Iterator[Problem]:
    if protocols is None:
        return
    if not protocols:
        yield Problem("scrape_protocols", "scrape_protocols cannot be empty", "leave the key out for the default")
    if len(set(protocols)) < len(protocols):
        yield Problem("scrape_protocols", "duplicated protocol in scrape_protocols", "name each once")


class ScrapeConfigs(Section, frozen=True):
    """The parts of a Prometheus configuration file that are about scraping."""

    global_: GlobalConfig = field(default_factory=GlobalConfig, name="global")
    scrape_configs: tuple[ScrapeConfig, ...] = ()
    scrape_config_files: Annotated[
        tuple[str, ...], Meta(description="Files with further scrape_configs; the last part of a path may have a `*`.")
    ] = ()

    def problems(self) -> Iterator[Problem]:
        seen = set()
        above = self.global_
        for number, job in enumerate(self.scrape_configs):
            path = f"scrape_configs[{number}]"
            if job.job_name in seen:
                message = f'found multiple scrape configs with job name "{job.job_name}"'
                yield Problem(f"{path}.job_name", message, "give each job a name of its own")
            seen.add(job.job_name)
            yield from job_problems(job, above, path)
        for number, name in enumerate(self.scrape_config_files):
            if "*" in name.rpartition("/")[0] or name.count("*") > 1:
                fix = "one * at most, in the last part of the path"
                yield Problem(f"scrape_config_files[{number}]", f"invalid scrape config file path {name!r}", fix)

    def jobs(self) -> tuple[ScrapeConfig, ...]:
        """The jobs of `scrape_configs`, filled from `global`. Those of files are not among them."""
        return tuple(job.filled(self.global_) for job in self.scrape_configs)


def job_problems(job: ScrapeConfig, above: GlobalConfig, path: str) -> Iterator[Problem]:
    """What is wrong with a job only because of `global`. What is wrong with it anyway `job.problems()` tells."""
    interval = job.scrape_interval or above.interval
    if not job.scrape_interval and job.scrape_timeout > interval:
        message = f'scrape timeout greater than scrape interval for the job "{job.job_name}"'
        yield Problem(f"{path}.scrape_timeout", message, f"at most {interval}, the interval of global")
    if not job.metric_name_validation_scheme and above.scheme == "legacy":
        for problem in job.name_problems("legacy"):
            yield msgspec.structs.replace(problem, path=f"{path}.{problem.path}")
