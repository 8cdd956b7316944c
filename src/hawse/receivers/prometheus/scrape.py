"""One scrape: ask, read, and say how it went."""

import time
from collections.abc import Mapping

import msgspec

from hawse.batch import Group
from hawse.codecs.exposition import Exposition, ExpositionError, LimitExceeded, Limits, Settings
from hawse.prometheus.http import FetchError, ScrapeClient
from hawse.prometheus.relabel import compiled
from hawse.prometheus.settings import ScrapeConfig
from hawse.prometheus.targets import Target
from hawse.receivers.prometheus import negotiation, resource
from hawse.receivers.prometheus.memory import Held, Memory


class Outcome(msgspec.Struct, frozen=True):
    """What a scrape gave. `code` is "" for a good one, else one of few; `message` says what was wrong.

    `groups` are valid until the target's next scrape.
    """

    groups: tuple[Group, ...]
    seconds: float
    size: int  # bytes of the body; 0 where there is none of use
    samples: int = 0  # that the target exposed
    code: str = ""
    message: str = ""


class Failure(Exception):
    """A scrape that gives nothing."""

    def __init__(self, code: str, message: str, samples: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.samples = samples
        self.size = size  # scrape_body_size_bytes: -1 for one over its limit


class Scraper:
    """What scraping the targets of one job takes; the targets share it."""

    def __init__(
        self, job: ScrapeConfig, memory: Memory, resource_labels: Mapping[str, str], most: int, outside: dict[str, str]
    ) -> None:
        """`job` is filled. `most` bounds bodies where the job does not; `outside` are external labels."""
        self.job = job
        self.memory = memory
        self.client = ScrapeClient(job)
        self.limit = int(job.body_size_limit) or most
        self._rules = compiled(job.metric_relabel_configs, job.metric_name_validation_scheme or "utf8")
        self._outside = outside
        self._resource_labels = resource_labels
        self._headers: dict[float, Mapping[str, str]] = {}

    def exposition(self, target: Target) -> Exposition:
        """What keeps the target's series."""
        job = self.job
        limits = Limits(
            sample=job.sample_limit,
            label=job.label_limit,
            label_name_length=job.label_name_length_limit,
            label_value_length=job.label_value_length_limit,
            bucket=job.native_histogram_bucket_limit,
        )
        settings = Settings(
            honor_labels=job.honor_labels,
            honor_timestamps=job.honor_timestamps,
            track_timestamps_staleness=job.track_timestamps_staleness,
            limits=limits,
            resource_labels=self._resource_labels,
            scrape_classic_histograms=target.histograms.always_classic,
        )
        relabel = self._relabel if job.metric_relabel_configs or self._outside else None
        return Exposition(resource.attributes(target), target.labels, relabel, settings)

    def reporter(self, target: Target, exposition: Exposition) -> Exposition:
        """What reports on the target: the same, but where external labels come in, which rules do not see."""
        if not self._outside:
            return exposition
        settings = Settings(resource_labels=self._resource_labels)
        return Exposition(resource.attributes(target), {**self._outside, **target.labels}, None, settings)

    def _relabel(self, labels: dict[str, str]) -> dict[str, str] | None:
        kept = self._rules(labels)
        if kept is not None:
            for name, value in self._outside.items():
                kept.setdefault(name, value)
        return kept

    async def fetch(self, target: Target, held: Held) -> tuple[bytes | bytearray, str]:
        """The body and its content type. Raises Failure."""
        headers = self._headers.get(target.timeout)
        if headers is None:
            headers = self._headers[target.timeout] = negotiation.headers(self.job, target.timeout)
        try:
            answer = await self.client.get(
                str(target.url), headers, timeout=target.timeout, limit=self.limit, room=held.grow
            )
        except FetchError as error:
            size = -1 if error.code == "body_size_limit" else 0
            raise Failure(error.code, error.message, size=size) from None
        if not answer.body:
            return b"", "text/plain"
        try:
            said = answer.headers.get("content-type", "")
            return answer.body, negotiation.content_type(said, self.job.fallback_scrape_protocol)
        except negotiation.ContentTypeError as error:
            raise Failure("content_type", str(error)) from None


class Subject:
    """A target and what is known of its series."""

    def __init__(self, scraper: Scraper, target: Target) -> None:
        self.target = target
        self.scraper = scraper
        self.exposition = scraper.exposition(target)
        self.reporter = scraper.reporter(target, self.exposition)
        self.size = 0  # of the last body
        self.nbytes = 0  # of the series
        self.refusal = ""  # why it is not scraped at all (target_limit)

    async def scrape(self, at: int, held: Held) -> Outcome:
        """Take one, timed `at` (Unix ns). Whatever goes wrong is an outcome, not an exception."""
        began = time.perf_counter()
        try:
            if self.refusal:
                raise Failure("target_limit", self.refusal)
            body, kind = await self.scraper.fetch(self.target, held)
            size = len(body)
            async with self.scraper.memory.turn(size):
                groups, values = await self._read(body, kind, at)
        except Failure as failure:
            return self._failed(failure, at, time.perf_counter() - began)
        except Exception as bug:  # one target's body must not end the others
            self.exposition = self.scraper.exposition(self.target)
            self.reporter = self.scraper.reporter(self.target, self.exposition)
            told = Failure("internal", f"a bug, please report it: {type(bug).__name__}: {bug}")
            return self._failed(told, at, time.perf_counter() - began)
        finally:
            self._note()
        self.size = size
        seconds = time.perf_counter() - began
        report = self._report(at, 1, seconds, values, size)
        return Outcome((*groups, report), seconds, size, values[0])

    async def _read(self, body: bytes | bytearray, kind: str, at: int) -> tuple[tuple[Group, ...], tuple[int, ...]]:
        try:
            self.scraper.memory.check(len(body), self.size)
            scraped = await self.exposition.read(body, kind, at)
        except FetchError as error:
            raise Failure(error.code, error.message, size=len(body)) from None
        except LimitExceeded as error:
            raise Failure(limit_of(str(error)), str(error), getattr(error, "samples", 0), len(body)) from None
        except ExpositionError as error:
            raise Failure("malformed", str(error), getattr(error, "samples", 0), len(body)) from None
        return scraped.groups, (scraped.samples, scraped.kept, scraped.added)

    def _failed(self, failure: Failure, at: int, seconds: float) -> Outcome:
        markers = self.exposition.stale(at)
        report = self._report(at, 0, seconds, (failure.samples, 0, 0), failure.size)
        return Outcome((*markers, report), seconds, 0, 0, failure.code, failure.message)

    def _report(self, at: int, up: int, seconds: float, values: tuple[int, ...], size: int) -> Group:
        return self.reporter.report(at, self._values(up, seconds, values, size))

    def _values(self, up: int, seconds: float, values: tuple[int, ...], size: int) -> dict[str, float]:
        samples, kept, added = values
        found: dict[str, float] = {
            "up": up,
            "scrape_duration_seconds": seconds,
            "scrape_samples_scraped": samples,
            "scrape_samples_post_metric_relabeling": kept,
            "scrape_series_added": added,
        }
        job = self.scraper.job
        if job.extra_scrape_metrics:
            found["scrape_timeout_seconds"] = self.target.timeout
            found["scrape_sample_limit"] = job.sample_limit
            found["scrape_body_size_bytes"] = size
        return found

    def end(self, at: int) -> tuple[Group, ...]:
        """Markers for all that was ever sent of the target: it is gone."""
        markers = self.exposition.stale(at)
        self._note()
        return (*markers, self.reporter.report(at, self._values(0, 0, (0, 0, 0), 0), stale=True))

    def _note(self) -> None:
        now = self.exposition.nbytes
        self.scraper.memory.series += now - self.nbytes
        self.nbytes = now

    def forget(self) -> None:
        """Its series are no longer held, or by another."""
        self.scraper.memory.series -= self.nbytes
        self.nbytes = 0


def limit_of(message: str) -> str:
    """Which limit a codec's refusal is about: it begins with its key."""
    key = message.partition(":")[0]
    if key.startswith("label"):
        return "label_limit"
    return "bucket_limit" if "bucket" in key else "sample_limit"
