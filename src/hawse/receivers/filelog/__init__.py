"""filelog: tails container logs (and other files of lines), through rotation, truncation and deletion.

Offsets advance by acknowledgement: what a batch was made of is only behind us once the next component has returned
from `consume`. `paths` finds files and tells what their names mean, `log` reads one container's sequence of files,
`position` is what is kept, `operators` is how lines are parsed.
"""

import asyncio
import contextlib
import os
import resource as rlimit
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from hawse import component
from hawse.batch import Group, Resource, Signal
from hawse.codecs.container_log import MAX_LOG_SIZE, Clock, Odd, Parser, Records
from hawse.component import Consumer, Context, Need, Problem, Reads, ReceiverFactory, Stability
from hawse.diagnostics import HawseError
from hawse.net.retry import RetryConfig
from hawse.receivers.filelog import paths, position
from hawse.receivers.filelog.delivery import Deliveries, Tailed
from hawse.receivers.filelog.inotify import Inotify
from hawse.receivers.filelog.log import CHUNK, Log, Trouble
from hawse.receivers.filelog.operators import Operator, multiline_for
from hawse.state.storage import KeySpace, Storage
from hawse.values import Duration, ExtensionID

_GONE_FOR = 12.0  # seconds after which a log whose path is gone is let go: longer than late writes are waited for


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
    max_batches: Annotated[int, Meta(ge=1, le=64, description="Most batches on their way at a time.")] = 4
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


class FileLog(component.Receiver):
    """Finds logs, reads them by turns, and keeps what was acknowledged."""

    def __init__(self, config: Config, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.LOGS]
        self._keys: KeySpace | None = None
        self._logs: dict[str, Tailed] = {}
        self._saved: dict[str, position.Position] = {}
        self._unreadable: dict[str, str] = {}
        self._clock = Clock()
        self._trouble = Trouble()
        self._inotify: Inotify | None = None
        self._wake = asyncio.Event()  # something happened in a watched folder, or we stop
        self._news = asyncio.Event()  # the folders were searched, or we stop
        self._stopping = False
        self._deliveries = Deliveries(self._output, context, None, config.retry_on_failure, config.max_batches)
        self._first = True  # nothing was ever read: `start_at` counts
        self._searched = time.time_ns()  # when the folders were last searched, be it by a process before
        self._started = False
        self._idle = asyncio.Event()
        self._odd = Odd()

    # --- start and stop ---

    async def start(self) -> None:
        """Read the kept positions, find the logs. Raises HawseError where a folder may not be read."""
        for index, pattern in enumerate(self._config.include):
            self._check_folder(paths.fixed_folder(pattern), f"receivers.{self._context.id}.include[{index}]")
        if self._config.storage is not None:
            self._keys = self._context.extension(self._config.storage, Storage).keyspace(self._context.id)
            if (updated := self._keys.updated()) is not None:
                self._first, self._searched = False, updated * 10**9
            for path, row in self._keys.items():
                try:
                    self._saved[path] = position.decode(row)
                except msgspec.DecodeError as error:
                    self._context.log.error("%s: its kept position is damaged (%s): reading it anew", path, error)
        self._deliveries = Deliveries(
            self._output, self._context, self._keys, self._config.retry_on_failure, self._config.max_batches
        )
        self._raise_file_limit()
        self._register_metrics()
        try:
            self._inotify = Inotify()
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._wake.set)
        except OSError as error:
            self._context.log.warning("no inotify (%s): folders are searched every second instead", error.strerror)
        self._discover()
        self._started = True
        self._context.spawn(self._run(), "tail")
        self._context.spawn(self._watch(), "discover")

    async def stop(self) -> None:
        """Stop reading, wait for what is on its way, keep the positions."""
        self._stopping = True
        self._wake.set()
        self._news.set()
        if not self._started:
            self._close()
            return
        try:
            await self._idle.wait()
            await self._deliveries.finish()
        finally:
            self._deliveries.cancel()
            self._close()

    def _close(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
        for tailed in self._logs.values():
            tailed.log.close()

    def _check_folder(self, folder: str, path: str) -> None:
        try:
            os.listdir(folder)
        except FileNotFoundError:
            self._context.log.warning("%s is not there yet: waiting for it to appear", folder)
        except OSError as error:
            raise HawseError.of(
                "HW310",
                f"cannot read the folder {folder}: {error.strerror}",
                fix=f"run as a user or group that may (now uid {os.getuid()}, gid {os.getgid()}), "
                "mount it into the pod, or change include",
                path=path,
            ) from None

    def _raise_file_limit(self) -> None:
        wanted = self._config.max_concurrent_files + 256
        soft, hard = rlimit.getrlimit(rlimit.RLIMIT_NOFILE)
        if soft != rlimit.RLIM_INFINITY and soft < wanted:
            rlimit.setrlimit(
                rlimit.RLIMIT_NOFILE, (wanted if hard == rlimit.RLIM_INFINITY else min(wanted, hard), hard)
            )

    def _register_metrics(self) -> None:
        gauge = self._context.meter.gauge
        gauge("otelcol_fileconsumer_open_files", "Log files that are open.", self._open_files)
        gauge("otelcol_fileconsumer_reading_files", "Logs that are followed.", lambda: len(self._logs))
        gauge("hawse_filelog_backlog_bytes", "Bytes of log files not read yet.", self._backlog)
        for name, description in (
            ("unparseable", "Lines in no known format, delivered as they are."),
            ("invalid_utf8", "Records in which bytes that are not UTF-8 were replaced by U+FFFD."),
            ("split", "Lines and entries longer than max_log_size, delivered in several records."),
        ):
            gauge(f"hawse_filelog_{name}_lines", description, lambda name=name: self._odd_total(name))  # type: ignore[misc]
        for name, description in (
            ("lost_files", "Files that were rotated away and removed before they were read to their end."),
            ("lost_bytes", "Bytes known to be lost by that and by truncation."),
            ("truncated", "Files that were truncated or overwritten."),
        ):
            gauge(f"hawse_filelog_{name}", description, lambda name=name: getattr(self._trouble, name))  # type: ignore[misc]

    def _odd_total(self, name: str) -> float:
        total: int = getattr(self._odd, name) + sum(getattr(t.log.parser.odd, name) for t in self._logs.values())
        return total

    def _open_files(self) -> int:
        return sum(tailed.log.open for tailed in self._logs.values())

    def _backlog(self) -> int:
        return sum(tailed.log.backlog for tailed in self._logs.values())

    # --- finding ---

    def _discover(self) -> None:
        """Search the folders; begin with new logs, and tell the others what is at their paths now."""
        if self._inotify is not None:
            self._inotify.drain()
        found: dict[str, tuple[list[str], os.stat_result]] = {}
        for path in paths.find(self._config.include, self._config.exclude):
            try:
                chain = paths.chain(path)
                status = os.stat(chain[-1])
            except OSError:
                continue  # gone since, or a link whose target is not there yet
            known = found.get(chain[-1])
            found[chain[-1]] = (known[0] + chain[:-1] if known else chain, status)
        now = time.time()
        new = [path for path in found if path not in self._logs]
        for path in new:
            self._begin(path, found[path][0])
        begun = {path: position.encode(self._logs[path].log.saved()) for path in new if path in self._logs}
        if begun:
            self._deliveries.keep(begun)  # from now on these are known, even if nothing is ever read of them
        for path, (_, status) in found.items():
            tailed = self._logs.get(path)
            if tailed is not None and path not in begun:
                tailed.log.gone_since = None
                tailed.log.look(status)
        for path, tailed in list(self._logs.items()):
            if path not in found:
                self._gone(path, tailed, now)
        if self._inotify is not None:
            folders = {os.path.dirname(path) for path in found} | set(paths.folders(self._config.include))
            trouble = self._inotify.watch(folders)
            if trouble and not self._unreadable.get("inotify"):
                self._unreadable["inotify"] = trouble
                self._context.log.warning("cannot watch %s: relying on discovery_interval", trouble)
        self._first = False
        self._searched = int(now * 1e9)

    def _begin(self, path: str, chain: list[str]) -> None:
        """Follow one more log, from where it was left or from where `start_at` says."""
        attributes = paths.attributes(chain) if self._parses else {}
        if self._is_own(attributes):
            return
        file_attributes = {"log.file.name": os.path.basename(path)} if self._config.include_file_name else {}
        file_attributes |= {"log.file.path": path} if self._config.include_file_path else {}
        container = self._config.operators[0] if self._parses else None
        told = attributes if container and container.add_metadata_from_filepath else {}
        limit = int(container.max_log_size) if container else MAX_LOG_SIZE
        parser = Parser(
            raw=not self._parses,
            multiline=multiline_for(
                self._config.operators, {**attributes, "log.file.path": path, "log.file.name": os.path.basename(path)}
            ),
            max_log_size=limit,
            clock=self._clock,
        )
        log = Log(path, parser, self._trouble, self._context.log, limit)
        saved = self._saved.pop(path, None)
        try:
            if saved is not None:
                log.restore(saved)
            else:
                log.begin(at_end=self._first and self._config.start_at == "end", since=self._searched)
        except OSError as error:
            log.close()
            if saved is not None:
                self._saved[path] = saved
            self._complain(path, error)
            return
        self._unreadable.pop(path, None)
        self._logs[path] = Tailed(log, {**told, **file_attributes, **self._config.resource})

    @property
    def _parses(self) -> bool:
        return bool(self._config.operators) and self._config.operators[0].type == "container"

    def _is_own(self, attributes: Mapping[str, str]) -> bool:
        own = os.environ.get("POD_NAME") or ("KUBERNETES_SERVICE_HOST" in os.environ and os.environ.get("HOSTNAME"))
        namespace = os.environ.get("POD_NAMESPACE")
        return bool(
            self._config.exclude_own_logs
            and own
            and attributes.get("k8s.pod.name") == own
            and namespace in {None, attributes.get("k8s.namespace.name")}
        )

    def _complain(self, path: str, error: OSError) -> None:
        text = f"{error.strerror or error}"
        if self._unreadable.get(path) != text:
            self._unreadable[path] = text
            fix = f"; uid {os.getuid()} needs a group that may, or root" if isinstance(error, PermissionError) else ""
            self._context.log.error("cannot read %s: %s%s; trying again", path, text, fix)

    def _gone(self, path: str, tailed: Tailed, now: float) -> None:
        """No path leads to the log any more: read what its open files still have, then let it go."""
        log = tailed.log
        if log.gone_since is None:
            log.gone_since = now
            log.look()  # the path in include may be gone (a link), and the file still there
        quiet_since = max(log.gone_since, log.active)
        if abs(now - quiet_since) > _GONE_FOR and (log.drained or not log.open) and not tailed.in_flight:
            log.close()
            for name in ("unparseable", "invalid_utf8", "split"):
                setattr(self._odd, name, getattr(self._odd, name) + getattr(log.parser.odd, name))
            del self._logs[path]
            if self._keys is not None and not os.path.exists(path):
                self._deliveries.keep({}, [path])

    def _park_others(self) -> None:
        """Keep the number of open files in its bound: quiet files give up their handles."""
        excess = self._open_files() - self._config.max_concurrent_files
        if excess > 0:
            for tailed in sorted(self._logs.values(), key=lambda t: t.log.active):
                excess -= tailed.log.park()
                if excess <= 0:
                    break

    # --- reading ---

    async def _run(self) -> None:
        try:
            await self._tail()
        finally:
            self._idle.set()

    async def _watch(self) -> None:
        """Search the folders in time, also while nothing can be delivered: a file that is open can't be lost."""
        interval = self._config.discovery_interval
        if self._inotify is None:
            interval = Duration(min(1.0, interval))
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), interval)
                await asyncio.sleep(0.02)  # names often come in numbers: one search for all of them
            self._wake.clear()
            if not self._stopping:
                self._discover()
                self._news.set()

    async def _tail(self) -> None:
        config = self._config
        swept = float("-inf")
        ready: deque[Tailed] = deque()
        groups: list[Group] = []
        read: list[Tailed] = []
        size = 0
        while not self._stopping:
            now = time.monotonic()
            if not ready or now - swept > config.poll_interval:  # a noisy log does not keep others from being seen
                self._sweep(ready)
                swept = now
            if not ready:
                await self._pause(config.poll_interval)
                continue
            tailed = ready.popleft()
            tailed.queued = False
            made = self._turn(tailed)
            if made is not None:
                groups += made
                read.append(tailed)
                size += sum(group.nbytes for group in made)
                if tailed.log.poll(time.time(), config.force_flush_period):
                    tailed.queued = True
                    ready.append(tailed)
            if read and (size >= CHUNK or not ready):
                await self._deliveries.send(groups, read)
                groups, read, size = [], [], 0
            else:
                await asyncio.sleep(0)
        if read:
            await self._deliveries.send(groups, read)
        if self._keys is None:
            await self._flush_all()

    def _sweep(self, ready: deque[Tailed]) -> None:
        """Append the logs that have something to read or to do, and are not there already."""
        self._park_others()
        now = time.time()
        for tailed in self._logs.values():
            if not tailed.queued and tailed.log.poll(now, self._config.force_flush_period):
                tailed.queued = True
                ready.append(tailed)

    async def _flush_all(self) -> None:
        """Nothing remembers what is held after us: hand it out."""
        groups = []
        for tailed in self._logs.values():
            for stream, records in tailed.log.parser.flush(time.time_ns()).items():
                groups.append(_group(tailed.resource(stream), records))
        if groups:
            await self._deliveries.send(groups, [])

    async def _pause(self, seconds: float) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def _turn(self, tailed: Tailed) -> list[Group] | None:
        """One chunk of a log as groups, or None where it could not be read."""
        try:
            by_stream = tailed.log.turn(self._deliveries.take, time.time(), self._config.force_flush_period)
        except OSError as error:
            self._complain(tailed.log.path, error)
            return None
        return [_group(tailed.resource(stream), records) for stream, records in by_stream.items() if records.items]


def _group(resource: Resource, records: Records) -> Group:
    return Group(resource, records.scope(), records.items)


factory = ReceiverFactory("filelog", Config, FileLog, needs=needs, signals={Signal.LOGS}, stability=Stability.ALPHA)
__all__ = ["Config", "FileLog", "factory", "needs"]
