"""The logs that are followed: found by pattern, begun with, told of changes, let go."""

import os
import resource as rlimit
import time
from collections.abc import Iterator, Mapping

import msgspec

from hawse.codecs.container_log import MAX_LOG_SIZE, Clock, Odd, Parser
from hawse.component import Context
from hawse.receivers.filelog import paths, position
from hawse.receivers.filelog.config import Config
from hawse.receivers.filelog.delivery import Tailed
from hawse.receivers.filelog.log import Log
from hawse.receivers.filelog.operators import recombine_for
from hawse.receivers.filelog.sequence import Trouble
from hawse.state.storage import KeySpace

_GONE_FOR = 12.0  # seconds after which a log whose path is gone is let go: longer than late writes are waited for
# Seconds before the last search in which what a new log has written is ours nevertheless. At that moment there may have
# been no file at its path (rotation renames first), and files' times are a little behind the clock. Shorter than
# _GONE_FOR: what had been let go comes back as new.
_SLACK = 10.0
_SPARE_FILES = 256  # descriptors for all else: connections, state


class Logs:
    """All logs of a receiver. `keys` is where their positions are kept, None where they are not.

    What begins or ends is returned by `search`, for the caller to keep; nothing is written here.
    """

    def __init__(self, config: Config, context: Context, keys: KeySpace | None) -> None:
        self.trouble = Trouble()
        self._config = config
        self._context = context
        self._log = context.log
        self._followed: dict[str, Tailed] = {}
        self._saved: dict[str, position.Position] = {}
        self._complaints: dict[str, str] = {}
        self._clock = Clock()
        self._odd = Odd()  # of logs that were let go
        self._first = True  # nothing was ever read: `start_at` counts
        self._since = time.time_ns()  # what was written later, to a log that is new to us, is ours
        self._searched = self._began = time.monotonic()
        self.searched = self._since  # when the last search began
        self._container = next((operator for operator in config.operators if operator.type == "container"), None)
        if keys is not None:
            self._load(keys)
        _raise_file_limit(config.max_concurrent_files + _SPARE_FILES)

    def _load(self, keys: KeySpace) -> None:
        rows = dict(keys.items())
        if rows:
            self._first = False
            # A time that is still to come is of a clock that was set back, and says nothing.
            told = rows.pop(position.SEARCHED, b"")
            last = int(told) if told.isdigit() else 0
            self._since = last if last <= time.time_ns() else 0
        for path, row in rows.items():
            try:
                self._saved[path] = position.decode(row)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._log.error("%s: its kept position is damaged (%s): reading it anew", path, error)

    def __iter__(self) -> Iterator[Tailed]:
        return iter(self._followed.values())

    def __len__(self) -> int:
        return len(self._followed)

    # --- searching ---

    def search(self) -> tuple[dict[str, bytes], list[str]]:
        """Begin with new logs, tell the others what is at their paths now, let go of those that are over.

        Returns the positions of new logs and the paths of those that are gone, to be kept and forgotten.
        """
        now, self.searched = time.monotonic(), time.time_ns()
        found = self._find()
        new = [path for path in found if path not in self._followed]
        for path in new:
            self._begin(path, found[path][0])
        begun = [path for path in new if path in self._followed]
        for path, (_, status) in found.items():
            tailed = self._followed.get(path)
            if tailed is not None and path not in begun:
                tailed.log.gone_since = None
                tailed.log.look(status)
        gone = [path for path in list(self._followed) if path not in found and self._is_over(path, now)]
        self._first = False
        self._searched = now
        # From now on new ones are known, even if nothing is ever read of them.
        return {path: position.encode(self._followed[path].log.saved()) for path in begun}, gone

    def _written_since(self) -> int:
        """From when on a log that is new to us may have been written: not before the last search."""
        now = time.monotonic()
        # By the clock as it is now: it may have been set since.
        last = time.time_ns() - int((now - self._searched + _SLACK) * 1e9)
        return min(last, self._since) if now - self._began < _GONE_FOR else last

    def _find(self) -> dict[str, tuple[list[str], os.stat_result]]:
        """Real paths, with the chain of links that led there and the status of the file."""
        found: dict[str, tuple[list[str], os.stat_result]] = {}
        for path in paths.find(self._config.include, self._config.exclude):
            try:
                chain = paths.chain(path)
                status = os.stat(chain[-1])
            except OSError:
                continue  # gone since, or a link whose target is not there yet
            if any(paths.matches(target, self._config.exclude) for target in chain[1:]):
                continue
            known = found.get(chain[-1])
            found[chain[-1]] = (known[0] + chain[:-1] if known else chain, status)
        return found

    def folders(self) -> set[str]:
        """Where something may happen: the folders of the patterns and those of the files."""
        return {os.path.dirname(path) for path in self._followed} | set(paths.folders(self._config.include))

    # --- beginnings and ends ---

    def _begin(self, path: str, chain: list[str]) -> None:
        """Follow one more log, from where it was left or from where `start_at` says."""
        attributes = paths.attributes(chain) if self._container else {}
        if self._is_own(attributes):
            return
        log = self._log_of(path, attributes)
        saved = self._saved.pop(path, None)
        try:
            if saved is not None:
                log.restore(saved)
            else:
                log.begin(at_end=self._first and self._config.start_at == "end", since=self._written_since())
        except OSError as error:
            log.close()
            if saved is not None:
                self._saved[path] = saved
            self.complain(path, error)
            return
        self._complaints.pop(path, None)
        self._followed[path] = Tailed(log, self._attributes(path, attributes))

    def _log_of(self, path: str, attributes: Mapping[str, str]) -> Log:
        names = {**attributes, "log.file.path": path, "log.file.name": os.path.basename(path)}
        recombine = recombine_for(self._config.operators, names)
        limit = int(self._container.max_log_size) if self._container else MAX_LOG_SIZE
        multiline = recombine.multiline() if recombine else None
        parser = Parser(raw=self._container is None, multiline=multiline, max_log_size=limit, clock=self._clock)
        flush_after = (recombine and recombine.force_flush_period) or self._config.force_flush_period
        return Log(path, parser, self.trouble, self._log, line_limit=limit, flush_after=flush_after)

    def _attributes(self, path: str, told: Mapping[str, str]) -> dict[str, str]:
        attributes = dict(told) if self._container and self._container.add_metadata_from_filepath else {}
        if self._config.include_file_name:
            attributes["log.file.name"] = os.path.basename(path)
        if self._config.include_file_path:
            attributes["log.file.path"] = path
        return attributes | self._config.resource

    def _is_own(self, attributes: Mapping[str, str]) -> bool:
        own = os.environ.get("POD_NAME") or ("KUBERNETES_SERVICE_HOST" in os.environ and os.environ.get("HOSTNAME"))
        namespace = os.environ.get("POD_NAMESPACE")
        return bool(
            self._config.exclude_own_logs
            and own
            and attributes.get("k8s.pod.name") == own
            and namespace in {None, attributes.get("k8s.namespace.name")}
        )

    def _is_over(self, path: str, now: float) -> bool:
        """No path leads to the log any more: once what its open files still have was read, let it go.

        Says whether its position can be forgotten.
        """
        tailed = self._followed[path]
        log = tailed.log
        if log.gone_since is None:
            log.gone_since = now
            log.look()  # the path in include may be gone (a link), and the file still there
        quiet = now - max(log.gone_since, log.active) > _GONE_FOR
        if not quiet or tailed.in_flight or not (log.drained or not log.open):
            return False
        log.close()
        for name in ("unparseable", "invalid_utf8", "split"):
            setattr(self._odd, name, getattr(self._odd, name) + getattr(log.parser.odd, name))
        del self._followed[path]
        return not os.path.exists(path)

    def park(self) -> None:
        """Keep the number of open files in its bound: quiet files give up their handles."""
        excess = self._open_files() - self._config.max_concurrent_files
        if excess > 0:
            for tailed in sorted(self._followed.values(), key=lambda t: t.log.active):
                excess -= tailed.log.park()
                if excess <= 0:
                    break

    def complain(self, path: str, error: OSError) -> None:
        """Say that a file can't be read, once for each reason."""
        text = f"{error.strerror or error}"
        if self._complaints.get(path) != text:
            self._complaints[path] = text
            fix = f"; uid {os.getuid()} needs a group that may, or root" if isinstance(error, PermissionError) else ""
            self._log.error("cannot read %s: %s%s; trying again", path, text, fix)

    def close(self) -> None:
        """Close all files."""
        for tailed in self._followed.values():
            tailed.log.close()

    # --- numbers ---

    def register_metrics(self) -> None:
        """Offer the state of all logs as self-metrics."""
        gauge = self._context.meter.gauge
        gauge("otelcol_fileconsumer_open_files", "Log files that are open.", self._open_files)
        gauge("otelcol_fileconsumer_reading_files", "Logs that are followed.", lambda: len(self))
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
            gauge(f"hawse_filelog_{name}", description, lambda name=name: getattr(self.trouble, name))  # type: ignore[misc]

    def _odd_total(self, name: str) -> float:
        total: int = getattr(self._odd, name) + sum(getattr(tailed.log.parser.odd, name) for tailed in self)
        return total

    def _open_files(self) -> int:
        return sum(tailed.log.open for tailed in self)

    def _backlog(self) -> int:
        return sum(tailed.log.backlog for tailed in self)


def _raise_file_limit(wanted: int) -> None:
    soft, hard = rlimit.getrlimit(rlimit.RLIMIT_NOFILE)
    if soft != rlimit.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == rlimit.RLIM_INFINITY else min(wanted, hard)
        rlimit.setrlimit(rlimit.RLIMIT_NOFILE, (most, hard))
