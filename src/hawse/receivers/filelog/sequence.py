"""Which files one container's log consists of: the one at its path, and those that rotation made of it.

Files are told apart by their inode as long as they are held open, and by their first bytes always.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from hawse.codecs.container_log import SLACK, Parser
from hawse.receivers.filelog.identity import LOOKS, Content, Fingerprint, Found, found, is_gzip, rotated
from hawse.receivers.filelog.position import Position, Segment, Unfinished

CHUNK = 768 << 10  # bytes read in one turn: large enough for numpy, small enough for the processor's cache
_OVERHEAD = 64 << 10  # what a line may be longer than its body
LINGER = 10.0  # seconds for which a file that was rotated away or deleted is watched for late writes
_KNOWN = 32  # files done with that are remembered, per log


@dataclass(slots=True)
class Trouble:
    """What can't be helped, counted over all logs of a receiver."""

    lost_files: int = 0  # rotated away and removed before they were read to their end
    lost_bytes: int = 0  # of these, as far as it is known
    truncated: int = 0


@dataclass(slots=True)
class _Next:
    """A file to be read when the present one is done, from `offset`.

    `fingerprint` and `modified` are as when it was put in line: it may be truncated while it waits.
    """

    content: Content
    offset: int
    fingerprint: Fingerprint
    modified: int

    @classmethod
    def of(cls, content: Content, offset: int = 0) -> "_Next":
        return cls(content, offset, Fingerprint.of(content.head()), content.status().st_mtime_ns)


class Sequence:
    """The files of one log, in order: `_segments` (the last is being read, by `_content`), then those in line.

    Ownership: holds one open file, those in line, and those that linger; `close` closes them.
    """

    def __init__(
        self,
        path: str,
        parser: Parser,
        trouble: Trouble,
        log: logging.LoggerAdapter[logging.Logger],
        *,
        line_limit: int,
        flush_after: float,
    ) -> None:
        """`line_limit` is max_log_size: a longer line is handed out in pieces.

        `flush_after` is how many seconds what is incomplete waits for its rest.
        """
        self.path = path
        self.parser = parser
        self.position = 0
        self.gone_since: float | None = None
        self.active = 0.0  # when something was last read
        self._trouble = trouble
        self._log = log
        self._flush_after = flush_after
        self._line_limit = line_limit + _OVERHEAD
        self._segments: list[Segment] = []
        self._known: deque[Fingerprint] = deque(maxlen=_KNOWN)
        self._next: deque[_Next] = deque()
        self._lingering: list[tuple[Content, int, float]] = []
        self._content: Content | None = None
        self._looked = 0.0
        self._retired = False  # the last segment's file is done with
        self._size = 0
        self._want = CHUNK
        self._tail = 0  # bytes at the end of the file that are no whole line yet
        self._tail_since = 0.0

    # --- beginnings ---

    def begin(self, *, at_end: bool, since: int) -> None:
        """Begin with the file as it is, at its start or its end. Raises OSError if it can't be read.

        Rotated files beside it are ours if they were written to after `since` (nanoseconds since 1970), when there
        was no such log yet; they come first then.
        """
        present = Content(self.path)
        for other in rotated(self.path)[-_KNOWN:]:
            if other.identity == present.identity:
                continue  # rotated in this moment
            if other.status.st_mtime_ns < since or at_end:
                self._known.append(Fingerprint.of(other.head))
            elif other.status.st_size:
                content = other.open()
                if content is None:
                    present.close()
                    raise OSError(f"{other.path} is being rotated")  # the next search finds it elsewhere
                self._next.append(_Next.of(content))
        size = present.status().st_size if at_end else 0
        if size and os.pread(present.fd, 1, size - 1) != b"\n":
            size = _line_start(present, size)
        self._next.append(_Next.of(present, size))
        self.position = size
        self._advance()

    def restore(self, saved: Position) -> None:
        """Go on where a process before this one ended. Raises OSError if the present file can't be read."""
        self.position = saved.position
        self._known.extend(saved.known)
        self._segments = list(saved.segments)
        self._feed_held(saved)
        if saved.unfinished is not None:
            self.parser.unfinished = (saved.unfinished.stream, saved.unfinished.time, saved.unfinished.full)
        segment = self._segments[-1]
        content = self._find(segment, saved.position - segment.base)
        if content is not None:
            self._open_found(content)
        else:
            if self._offset:
                self._trouble.lost_files += 1
                self._log.warning(
                    "%s: the file read last time up to its byte %d is gone: what stood behind that byte is lost;"
                    " keep more rotated files (kubelet: containerLogMaxFiles) or larger ones (containerLogMaxSize)",
                    self.path, self._offset,
                )  # fmt: skip
            self._retire_segment()
        self.look()

    def _feed_held(self, saved: Position) -> None:
        """Give the parser again what it held. It hands nothing out of that: it held it because it could not."""
        for segment, begin, end in _by_segment(saved):
            content = self._find(segment, begin - segment.base)
            if content is None:
                self._trouble.lost_bytes += end - begin
                self._log.warning("%s: the beginning of an entry (%d bytes) is gone", self.path, end - begin)
                continue
            buffer = bytearray(1 + end - begin + 1 + SLACK)
            count = content.read_into(memoryview(buffer)[1 : 1 + end - begin], begin - segment.base)
            content.close()
            if buffer[count] != 10:  # the last line of a file without newline
                count += 1
                buffer[count] = 10
            self.parser.feed(buffer, 1, 1 + count, begin, 0)

    def _find(self, segment: Segment, offset: int, *, elsewhere: bool = False) -> Content | None:
        """The file of a segment, opened: at the path, rotated, copied or compressed. `elsewhere`: a copy of it.

        One that was empty is never found: an inode that is not held open may be another file's by now. Whatever was
        written to it since is among the successors.
        """
        if not segment.fingerprint.size:
            return None
        own = (segment.device, segment.inode)
        for _ in range(LOOKS):
            files = [] if elsewhere else [file for file in (found(self.path),) if file]
            files += [file for file in rotated(self.path) if not elsewhere or file.identity != own]
            alike = [
                file
                for file in files
                if (is_gzip(file.path) or file.status.st_size >= offset) and segment.fingerprint.fits(file.head)
            ]
            if not alike:
                return None
            content = min(alike, key=lambda file: (file.identity != own, file.path)).open()
            if content is not None:
                return content
        return None

    def _open_found(self, content: Content) -> None:
        """Go on with the present segment, whose file this is."""
        device, inode = content.identity
        self._segments[-1] = msgspec.structs.replace(self._segments[-1], device=device, inode=inode)
        self._content = content
        self._size = content.status().st_size

    # --- what the world did ---

    def look(self, status: os.stat_result | None = None) -> None:
        """Compare the file at the path (its `status`, or None to look it up) with the last one in line."""
        try:
            status = status or os.stat(self.path)
            if (status.st_dev, status.st_ino) == self._newest() and not self._must_not_trust(status):
                self._look_again(status)
                return
            arrived = Content(self.path)
        except OSError:
            return  # gone again, or not readable any more: the next look tells
        if self._content is None and not self._next and not self._retired:
            self._reopen_rotated()
        self._queue_successors(arrived)
        self._next.append(_Next.of(arrived))

    def _look_again(self, status: os.stat_result) -> None:
        """The same file is at the path."""
        if self._next:
            return
        if self._content is None:
            if status.st_size != self._offset:
                self._open_found(Content(self.path))  # parked, and no longer quiet
        elif not self._segments[-1].fingerprint.size and next(self._unknown(self._content), None):
            self._truncated(self._offset)  # written, copied and emptied between two looks

    def _must_not_trust(self, status: os.stat_result) -> bool:
        """Whether the inode alone says nothing: no handle keeps it from being used again, and no content is known."""
        if self._content is not None or self._next:
            return False
        return self._retired or (not self._segments[-1].fingerprint.size and status.st_size > 0)

    @property
    def _offset(self) -> int:
        """Where to read next in the present file."""
        return self.position - self._segments[-1].base

    def _newest(self) -> tuple[int, int]:
        """Device and inode of the file that is last in line."""
        if self._next:
            return self._next[-1].content.identity
        return self._segments[-1].device, self._segments[-1].inode

    def _reopen_rotated(self) -> None:
        """A parked file was rotated: what was written before that is still to be read."""
        content = self._find(self._segments[-1], self._offset)
        if content is not None:
            self._open_found(content)
            return
        if self._offset:
            self._trouble.lost_files += 1
            self._log.warning("%s: rotated away and removed while not open; its last lines may be lost", self.path)
        self._retire_segment()

    def _queue_successors(self, arrived: Content) -> None:
        """Files that were written and rotated between two looks stand between the present one and the path's."""
        for _ in range(LOOKS):
            files = list(self._unknown(arrived))
            opened = [file.open() for file in files]
            contents = [content for content in opened if content is not None]
            if len(contents) == len(files):
                self._next.extend(map(_Next.of, contents))
                return
            for content in contents:  # renamed or compressed in this moment: look again
                content.close()
        self._trouble.lost_files += 1
        self._log.warning("%s: what was rotated could not be opened, it changes all the time", self.path)

    def _unknown(self, arrived: Content) -> Iterator[Found]:
        """Rotated files that are neither read nor in line, and no older than the present one; oldest first."""
        present = self._segments[-1]
        held = [arrived, *(waiting.content for waiting in self._next), *(content for content, _, _ in self._lingering)]
        held += [self._content] if self._content else []
        taken = {content.identity for content in held}  # an inode that is held open is not used again …
        known = [*self._known, present.fingerprint, *(Fingerprint.of(content.head()) for content in held)]  # … copied
        # A time that is still to come is of a clock that was set back since: then only the content tells.
        oldest = present.modified if present.modified <= time.time_ns() else 0
        for file in rotated(self.path):
            if file.identity in taken or file.status.st_mtime_ns < oldest:
                continue
            if file.head and not any(fingerprint.fits(file.head) for fingerprint in known):
                yield file

    def _watch_lingering(self, now: float) -> None:
        """A file that was left behind and grows is read on; one that stays quiet is closed."""
        for entry in list(self._lingering):
            content, offset, since = entry
            if content.status().st_size > offset:
                self._lingering.remove(entry)
                self._suspend()
                self._next.appendleft(_Next.of(content, offset))
            elif now - since > LINGER:
                self._lingering.remove(entry)
                content.close()

    def _suspend(self) -> None:
        """Put the present file back in line, at its place."""
        if self._content is not None:
            segment = self._segments[-1]
            self._next.appendleft(_Next(self._content, self._offset, segment.fingerprint, segment.modified))
            self._content = None

    def _truncated(self, offset: int) -> None:
        """Copied and truncated, or overwritten: the rest of what was there may be in the copy."""
        assert self._content is not None
        self._trouble.truncated += 1
        segment = self._segments[-1]
        content, self._content = self._content, None
        waiting, self._next = self._next, deque()
        copy = self._find(segment, offset, elsewhere=True)
        if copy is not None:
            self._next.append(_Next.of(copy, offset))
        elif self._tail and segment.fingerprint.size:
            self._trouble.lost_bytes += self._tail
            self._log.warning("%s: truncated with %d bytes unread and no copy beside it", self.path, self._tail)
        self._queue_successors(content)  # it may have been copied and truncated more than once
        self._next.append(_Next.of(content))
        self._next.extend(waiting)
        self._retire_segment()
        self._advance()

    # --- from file to file ---

    def _finish(self, now: float) -> None:
        """The present file is read to its end, and is no longer the newest."""
        assert self._content is not None
        offset = self._offset
        if self._content.compressed:
            self._content.close()
        else:
            self._lingering.append((self._content, offset, now))
        self._content = None
        self._retire_segment()
        if self._next:
            self._advance()

    def _retire_segment(self) -> None:
        """The present file is done with: under whatever name it is found, it is not new."""
        self._retired = True
        fingerprint = self._segments[-1].fingerprint
        if fingerprint.size and fingerprint not in self._known:
            self._known.append(fingerprint)
        self.parser.unfinished = None  # its line ends with its file

    def _advance(self) -> None:
        """Go on with the next file in line."""
        waiting = self._next.popleft()
        device, inode = waiting.content.identity
        base = self.position - waiting.offset
        segment = Segment(device, inode, self.position, base, waiting.fingerprint, waiting.modified)
        self._segments = [*self._needed(), segment]
        self._content, self._size, self._retired = waiting.content, waiting.content.status().st_size, False
        self._want, self._tail = CHUNK, 0

    def _needed(self) -> list[Segment]:
        """Segments that held text is in."""
        held = self.parser.held
        ends = [segment.start for segment in self._segments[1:]] + [self.position]
        return [
            segment
            for segment, end in zip(self._segments, ends, strict=False)
            if any(a < end and b > segment.start for a, b in held)
        ]

    # --- for the caller ---

    def saved(self) -> Position:
        """What to keep once all that was handed out so far is delivered."""
        if len(self._segments) > 1:
            self._segments = [*self._needed_before_last(), self._segments[-1]]
        unfinished = self.parser.unfinished
        return Position(
            self.position,
            tuple(self._segments),
            tuple(self.parser.held),
            Unfinished(*unfinished) if unfinished else None,
            tuple(self._known),
        )

    def _needed_before_last(self) -> list[Segment]:
        last = self._segments[-1]
        return [segment for segment in self._needed() if segment is not last]

    @property
    def open(self) -> bool:
        """Whether it holds a file."""
        return self._content is not None

    def close(self) -> None:
        """Close all files."""
        for content in (self._content, *(c for c, _, _ in self._lingering), *(n.content for n in self._next)):
            if content is not None:
                content.close()
        self._content, self._lingering = None, []
        self._next.clear()


def _by_segment(saved: Position) -> Iterator[tuple[Segment, int, int]]:
    """The held ranges, cut where one file ends and the next begins: a long line may be in several."""
    ends = [segment.start for segment in saved.segments[1:]] + [saved.position]
    for begin, end in saved.held:
        for segment, behind in zip(saved.segments, ends, strict=True):
            start, stop = max(begin, segment.start), min(end, behind)
            if start < stop:
                yield segment, start, stop


def _line_start(content: Content, size: int) -> int:
    """The position of the last line's beginning, at most 1 MiB before the end."""
    begin = max(0, size - (1 << 20))
    return begin + os.pread(content.fd, size - begin, begin).rfind(b"\n") + 1
