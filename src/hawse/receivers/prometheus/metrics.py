"""Self-metrics, by Prometheus' names where it has one, and what is logged of targets that fail."""

import time
from collections.abc import Callable

from hawse.component import Context

_EVERY = 30.0  # seconds
_LINES = 10  # of targets that fail, within that time

# Codes of failures that Prometheus counts by a name of their own.
_LIMITS = {
    "body_size_limit": (
        "prometheus_target_scrapes_exceeded_body_size_limit",
        "Total number of scrapes that hit the body size limit",
    ),
    "sample_limit": (
        "prometheus_target_scrapes_exceeded_sample_limit",
        "Total number of scrapes that hit the sample limit and were rejected.",
    ),
    "label_limit": (
        "prometheus_target_scrape_pool_exceeded_label_limits",
        "Total number of times scrape pools hit the label limits, during sync or config reload.",
    ),
    "bucket_limit": (
        "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit",
        "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
    ),
    "target_limit": (
        "prometheus_target_scrape_pool_exceeded_target_limit",
        "Total number of times scrape pools hit the target limit, during sync or config reload.",
    ),
}


class Metrics:
    """Of one receiver."""

    def __init__(self, context: Context) -> None:
        meter = context.meter
        self._log = context.log
        self.meter = meter
        self.scrapes = meter.counter("hawse_scrapes", "Scrapes that were taken, failed ones included.")
        self.failed = meter.counter("hawse_scrapes_failed", "Scrapes that gave nothing, by reason.")
        self.missed = meter.counter(
            "hawse_scrapes_missed",
            "Scrapes that were due and not taken: gaps. By reason: downstream busy, the last one not done, no memory.",
        )
        self.samples = meter.counter("hawse_scrape_samples", "Samples that targets exposed, in scrapes that were good.")
        self.seconds = meter.counter("hawse_scrape_duration", "Time that scrapes took.", "s")
        self.bytes = meter.counter("hawse_scrape_body_bytes", "Bodies of scrapes, uncompressed.", "By")
        self._limits = {code: meter.counter(name, text) for code, (name, text) in _LIMITS.items()}
        self._jobs: set[str] = set()
        self._begun = float("-inf")
        self._said = 0
        self._unsaid = 0

    def pool(self, job: str, targets: Callable[[], float]) -> None:
        """A job has begun, maybe not for the first time."""
        if job in self._jobs:
            return
        self._jobs.add(job)
        name, text = "prometheus_target_scrape_pool_targets", "Current number of targets in this scrape pool."
        self.meter.gauge(name, text, targets, scrape_job=job)

    def fail(self, code: str) -> None:
        """A scrape failed."""
        self.failed.add(1, reason=code)
        if (limit := self._limits.get(code)) is not None:
            limit.add(1)

    def complain(self, message: str, *arguments: object) -> None:
        """Log, but no more than some lines in half a minute, and how many were left out."""
        now = time.monotonic()
        if now - self._begun >= _EVERY:
            if self._unsaid:
                self._log.warning("%d more complaints about targets were left out in the last while", self._unsaid)
            self._begun, self._said, self._unsaid = now, 0, 0
        if self._said < _LINES:
            self._said += 1
            self._log.warning(message, *arguments)
        else:
            self._unsaid += 1
