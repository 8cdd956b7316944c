"""Tails container logs, and other files of lines, through rotation, truncation and deletion.

What the user writes, and what that may touch.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse import component
from hawse.component import Need, Problem, Reads
from hawse.net.retry import RetryConfig
from hawse.receivers.filelog.operators import Operator
from hawse.values import Duration, ExtensionID


class Config(component.Config, frozen=True):
    """Tails log files. Container logs need the operator `container`; without it, a line is a record as it is."""

    include: Annotated[tuple[str, ...], Meta(min_length=1, description="Patterns of files; links are followed.")]
    exclude: Annotated[tuple[str, ...], Meta(description="Patterns of files that are left alone.")] = ()
    exclude_own_logs: Annotated[
        bool, Meta(description="Leave alone the logs of the pod that this runs in (POD_NAME, or HOSTNAME in a pod).")
    ] = True
    start_at: Annotated[
        Literal["beginning", "end"],
        Meta(description="Where to begin with files that are there at the first start. Later ones: at the beginning."),
    ] = "end"
    poll_interval: Annotated[Duration, Meta(description="How often open files are looked at.")] = Duration(0.2)
    discovery_interval: Annotated[
        Duration, Meta(description="How often folders are searched, beside what inotify tells at once.")
    ] = Duration(5)
    force_flush_period: Annotated[
        Duration, Meta(description="How long an incomplete line or entry waits for its rest before it is handed out.")
    ] = Duration(5)
    max_concurrent_files: Annotated[int, Meta(ge=8, description="Most files open at a time; quiet ones give way.")] = (
        1024
    )
    max_batches: Annotated[int, Meta(ge=1, le=64, description="Most batches on their way at a time.")] = 3
    include_file_name: Annotated[bool, Meta(description="Add log.file.name.")] = True
    include_file_path: Annotated[bool, Meta(description="Add log.file.path.")] = False
    resource: Annotated[dict[str, str], Meta(description="Further resource attributes.")] = field(default_factory=dict)
    operators: tuple[Operator, ...] = ()
    storage: Annotated[
        ExtensionID | None, Meta(description="Where offsets are kept. Without it they are lost with the process.")
    ] = None
    retry_on_failure: RetryConfig = field(default_factory=RetryConfig)

    def problems(self) -> Iterator[Problem]:
        """Patterns must be absolute, intervals positive, and parsing comes before joining."""
        for key in ("include", "exclude"):
            for index, pattern in enumerate(getattr(self, key)):
                if not pattern.startswith("/"):
                    yield Problem(f"{key}[{index}]", f"{pattern!r} is not absolute", "begin it with a slash")
        for key in ("poll_interval", "discovery_interval", "force_flush_period"):
            if getattr(self, key) <= 0:
                yield Problem(key, "must be above 0")
        for index, operator in enumerate(self.operators):
            if operator.type == "container" and index:
                yield Problem(f"operators[{index}].type", "the container operator must be the first, and the only one")


def needs(config: Config) -> Iterator[Need]:
    """The files; where they are links, what these point to."""
    for pattern in config.include:
        yield Reads(pattern, "log files")
        if pattern.startswith("/var/log/containers/"):
            yield Reads("/var/log/pods/*/*/*.log", "what the links in /var/log/containers point to")
        if pattern.startswith(("/var/log/containers/", "/var/log/pods/")):
            yield Reads("/var/lib/docker/containers/*/*.log*", "what Docker's links in /var/log/pods point to")
