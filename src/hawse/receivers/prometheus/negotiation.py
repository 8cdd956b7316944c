"""Which exposition format a target is asked for, and which it answered with.

As Prometheus does it (scrape/scrape.go, acceptHeader; config/config.go, ScrapeProtocolsHeaders).
"""

from collections.abc import Mapping, Sequence

from hawse.prometheus.settings import ScrapeConfig

_TYPES = {
    "PrometheusProto": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
}
_ESCAPED = frozenset({"PrometheusText1.0.0", "OpenMetricsText1.0.0"})  # those that know of escaped names
_MEDIA = frozenset(kind.partition(";")[0] for kind in _TYPES.values())


class ContentTypeError(ValueError):
    """The target does not say what it sends, or it is nothing that we read."""


def accept(protocols: Sequence[str], escaping: str) -> str:
    """The header Accept: the first of the protocols is liked best, and anything else is better than nothing."""
    weight = len(_TYPES) + 1
    values = []
    for protocol in protocols:
        escaped = f";escaping={escaping or 'allow-utf-8'}" if protocol in _ESCAPED else ""
        values.append(f"{_TYPES[protocol]}{escaped};q=0.{weight}")
        weight -= 1
    return ",".join([*values, f"*/*;q=0.{weight}"])


def headers(job: ScrapeConfig, timeout: float) -> Mapping[str, str]:
    """What every request to a target of the job has. `timeout` is in seconds."""
    return {
        "accept": accept(job.scrape_protocols or (), job.metric_name_escaping_scheme),
        "accept-encoding": "gzip" if job.enable_compression else "identity",
        "x-prometheus-scrape-timeout-seconds": f"{timeout:.9f}".rstrip("0").rstrip("."),
    }


def content_type(said: str, fallback: str) -> str:
    """The content type to read a body by: what the target said, or the job's fallback_scrape_protocol.

    Raises ContentTypeError where neither will do.
    """
    media = said.partition(";")[0].strip().lower()
    if media in _MEDIA:
        return said
    if fallback:
        return _TYPES[fallback]
    what = f"sent the unsupported Content-Type {said[:100]!r}" if media else "sent no Content-Type"
    raise ContentTypeError(f"the target {what}, and the job has no fallback_scrape_protocol")
