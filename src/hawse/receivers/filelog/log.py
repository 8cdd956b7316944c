"""One container's log: the file at its path and those that rotation made of it, read in order."""

import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from hawse.codecs.container_log import SLACK, Parser, Records
from hawse.receivers.filelog.identity import FINGERPRINT, Content, Fingerprint, head, is_gzip, rotated
from hawse.receivers.filelog.position import Position, Segment, Unfinished

CHUNK = 512 << 10  # bytes read in one turn: large enough for numpy, small enough for the processor's cache
_OVERHEAD = 64 << 10  # what a line may be longer than its body
_LINGER = 10.0  # seconds for which a file that was rotated away or deleted is watched for late writes
_GRACE = 1.0  # seconds for which a rotated file's last line may lack its newline
_PARKED_LOOK = 1.0  # seconds between two looks at a file whose handle was given up
_KNOWN = 32  # files done with that are remembered, per log


@dataclass(slots=True)
class Trouble:
    """What can't be helped, counted over all logs of a receiver."""

    lost_files: int = 0  # rotated away and removed before they were read to their end
    lost_bytes: int = 0  # of these, as far as it is known
    truncated: int = 0


@dataclass(slots=True)
class _Next:
    """A file to be read when the present one is done, from `offset`."""

    content: Content
    offset: int = 0


class Log:
    """Reads one log. The caller polls it, gives it turns, and keeps the `position` of what was delivered.

    Ownership: holds at most one open file, and those that linger; `close` closes them.
    """

    def __init__(
        self, path: str, parser: Parser, trouble: Trouble, log: logging.LoggerAdapter[logging.Logger], line_limit: int
    ) -> None:
        """`line_limit` is max_log_size: a longer line is handed out in pieces."""
        self.path = path
        self.parser = parser
        self.position = 0
        self.gone_since: float | None = None
        self.active = 0.0  # when something was last read
        self._trouble = trouble
        self._log = log
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
        older = list(rotated(self.path))[-_KNOWN:]
        for other, status in older:
            if status.st_mtime_ns < since or at_end:
                self._known.append(Fingerprint.of(head(other)))
            elif status.st_size:
                self._next.append(_Next(Content(other)))
        size = present.status().st_size if at_end else 0
        if size and os.pread(present.fd, 1, size - 1) != b"\n":
            size = _line_start(present, size)
        self._next.append(_Next(present, size))
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
        found = self._find(segment, saved.position - segment.base)
        if found is not None:
            self._open_found(found)
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
        for begin, end in saved.held:
            segment = [s for s in saved.segments if s.start <= begin][-1]
            found = self._find(segment, begin - segment.base)
            if found is None:
                self._trouble.lost_bytes += end - begin
                self._log.warning("%s: the beginning of an entry (%d bytes) is gone", self.path, end - begin)
                continue
            content = Content(found)
            buffer = bytearray(1 + end - begin + 1 + SLACK)
            count = content.read_into(memoryview(buffer)[1 : 1 + end - begin], begin - segment.base)
            content.close()
            if buffer[count] != 10:  # the last line of a file without newline
                count += 1
                buffer[count] = 10
            self.parser.feed(buffer, 1, 1 + count, begin, 0)

    def _find(self, segment: Segment, offset: int) -> str | None:
        """Where the file of a segment is now: at the path, rotated, copied or compressed.

        One that was empty is never found: an inode that is not held open may be another file's by now. Whatever was
        written to it since is among the successors.
        """
        if not segment.fingerprint.size:
            return None
        alike: list[tuple[bool, str]] = []
        for path in (self.path, *(other for other, _ in rotated(self.path))):
            try:
                status = os.stat(path)
            except OSError:
                continue
            if (is_gzip(path) or status.st_size >= offset) and segment.fingerprint.fits(head(path)):
                alike.append(((status.st_dev, status.st_ino) != (segment.device, segment.inode), path))
        return min(alike)[1] if alike else None

    def _open_found(self, path: str) -> None:
        """Go on with the present segment, whose file is at `path` now."""
        content = Content(path)
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
                if self._content is None and not self._next and status.st_size != self._offset:
                    self._open_found(self.path)  # parked, and no longer quiet
                return
            arrived = Content(self.path)
        except OSError:
            return  # gone again, or not readable any more: the next look tells
        if self._content is None and not self._next and not self._retired:
            self._reopen_rotated()
        self._queue_successors(arrived)
        self._next.append(_Next(arrived))

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
        found = self._find(self._segments[-1], self._offset)
        if found is not None:
            self._open_found(found)
            return
        if self._offset:
            self._trouble.lost_files += 1
            self._log.warning("%s: rotated away and removed while not open; its last lines may be lost", self.path)
        self._retire_segment()

    def _queue_successors(self, arrived: Content) -> None:
        """Files that were written and rotated between two looks stand between the present one and the path's."""
        present = self._segments[-1]
        held = [arrived, *(waiting.content for waiting in self._next), *(content for content, _, _ in self._lingering)]
        held += [self._content] if self._content else []
        taken = {content.identity for content in held}  # an inode that is held open is not used again …
        known = [*self._known, present.fingerprint, *(Fingerprint.of(content.head()) for content in held)]  # … copied
        for other, status in rotated(self.path):
            if (status.st_dev, status.st_ino) in taken or status.st_mtime_ns < present.modified:
                continue
            start = head(other)
            if start and not any(fingerprint.fits(start) for fingerprint in known):
                try:
                    self._next.append(_Next(Content(other)))
                except OSError:
                    self._trouble.lost_files += 1
                    self._log.warning("%s: removed before it was read", other)

    def poll(self, now: float, flush_after: float) -> bool:
        """Whether there is something to read, hand out or do. Cheap: one fstat while nothing happens."""
        for entry in list(self._lingering):
            content, offset, since = entry
            if content.status().st_size > offset:
                self._lingering.remove(entry)
                self._suspend()
                self._next.appendleft(_Next(content, offset))
            elif abs(now - since) > _LINGER:
                self._lingering.remove(entry)
                content.close()
        if self._content is None:
            if not self._next and abs(now - self._looked) > _PARKED_LOOK:
                self._looked = now
                self.look()
            return self.open or bool(self._next)
        offset = self._offset
        if self._content.compressed:
            return True
        self._size = self._content.status().st_size
        if self._size < offset:
            self._truncated(offset)
            return True
        unread = self._size - offset
        if unread > self._tail:
            return True
        oldest = self.parser.oldest_held
        if oldest is not None and abs(now - oldest) > flush_after:  # abs: the clock may have been set back
            return True
        if self._tail:
            return abs(now - self._tail_since) > (_GRACE if self._next or self.gone_since else flush_after)
        return bool(self._next)

    def _suspend(self) -> None:
        """Put the present file back in line, at its place."""
        if self._content is not None:
            self._next.appendleft(_Next(self._content, self._offset))
            self._content = None

    def _truncated(self, offset: int) -> None:
        """Copied and truncated, or overwritten: the rest of what was there may be in the copy."""
        assert self._content is not None
        self._trouble.truncated += 1
        segment = self._segments[-1]
        content, self._content = self._content, None
        waiting, self._next = self._next, deque()
        copy = self._find_copy(segment, offset)
        if copy is not None:
            self._next.append(_Next(copy, offset))
        elif self._tail:
            self._trouble.lost_bytes += self._tail
            self._log.warning("%s: truncated with %d bytes unread and no copy beside it", self.path, self._tail)
        self._queue_successors(content)  # it may have been copied and truncated more than once
        self._next.append(_Next(content))
        self._next.extend(waiting)
        self._retire_segment()
        self._advance()

    def _find_copy(self, segment: Segment, offset: int) -> Content | None:
        for other, status in rotated(self.path):
            different = (status.st_dev, status.st_ino) != (segment.device, segment.inode)
            if different and segment.fingerprint.fits(head(other)) and (is_gzip(other) or status.st_size >= offset):
                try:
                    return Content(other)
                except OSError:
                    continue
        return None

    # --- reading ---

    def turn(self, take: Callable[[int], bytearray], now: float, flush_after: float) -> dict[str, Records]:
        """Read one chunk, or do what else is due; returns records by stream.

        `take(n)` gives a buffer of at least n bytes, which the records refer to. `now` is time.time().
        Raises OSError if the file can't be read; the log then stands where it stood.
        """
        observed = int(now * 1e9)
        if self._content is None:
            if self._next:
                self._advance()
            return {}
        offset = self._offset
        want = self._want if self._content.compressed else min(self._want, max(self._size - offset, 0))
        buffer = take(want + 2 + SLACK)
        try:
            count = self._content.read_into(memoryview(buffer)[1 : 1 + want], offset) if want else 0
        except OSError:
            self._damaged(now)
            raise
        if count and not self._verify(offset):
            self._truncated(offset)
            return {}
        behind = buffer.rfind(b"\n", 1, 1 + count) + 1
        if behind:
            records = self.parser.feed(buffer, 1, behind, self.position, observed)
            self.position += behind - 1
            self._want, self._tail, self.active = CHUNK, 0, now
            if count - (behind - 1):
                self._tail, self._tail_since = count - (behind - 1), now
            return records
        if count == want == self._want:
            return self._long_line(buffer, count, observed)
        return self._at_end(buffer, count, now, flush_after)

    def _damaged(self, now: float) -> None:
        """A gzip that nobody writes any more never gets better: give up what is behind the damage."""
        assert self._content is not None
        if self._content.compressed and abs(now - self._content.status().st_mtime) > _LINGER:
            self._trouble.lost_files += 1
            self._log.error("%s: damaged; what stands behind byte %d of it is lost", self._content.path, self._offset)
            self._finish(now)

    def _verify(self, offset: int) -> bool:
        """The file still begins as it did; remember more of it if it has grown."""
        assert self._content is not None
        segment = self._segments[-1]
        if segment.fingerprint.size == FINGERPRINT and self._content.compressed:
            return True
        start = self._content.head()
        if segment.fingerprint.size and not segment.fingerprint.fits(start) and not self._content.compressed:
            return False
        if segment.fingerprint.size < len(start):
            segment = msgspec.structs.replace(segment, fingerprint=Fingerprint.of(start))
        modified = self._content.status().st_mtime_ns
        self._segments[-1] = msgspec.structs.replace(segment, modified=modified)
        return offset >= 0

    def _long_line(self, buffer: bytearray, count: int, observed: int) -> dict[str, Records]:
        """No newline in a whole chunk: read more at once next time, or hand out what there is."""
        if self._want < self._line_limit:
            self._want = min(self._want * 2, self._line_limit)
            return {}
        cut = count
        while cut > count - 4 and buffer[cut] & 0xC0 == 0x80:  # not inside a character
            cut -= 1
        cut = cut - 1 if buffer[cut] & 0xC0 == 0xC0 else count
        records = self.parser.feed_unfinished(bytes(buffer[1 : 1 + cut]), self.position, observed)
        self.position += cut
        return records

    def _at_end(self, buffer: bytearray, count: int, now: float, flush_after: float) -> dict[str, Records]:
        """The end of what is there: wait, flush, or go on with the next file."""
        assert self._content is not None
        observed = int(now * 1e9)
        if count != self._tail:
            self._tail, self._tail_since = count, now
        ended = bool(self._next) or self._content.compressed or self.gone_since is not None
        waited = abs(now - self._tail_since)
        if count and ended and (waited > _GRACE or self._content.compressed):
            buffer[1 + count] = 10
            records = self.parser.feed(buffer, 1, 2 + count, self.position, observed)
            self.position += count
            self._tail = 0
            return records
        if count and not ended and waited > flush_after:
            records = self.parser.feed_unfinished(bytes(buffer[1 : 1 + count]), self.position, observed)
            self.position += count
            self._tail = 0
            return records
        if not count and (self._next or self._content.compressed):
            self._finish(now)
            return {}
        return self.parser.flush(observed, older_than=now - flush_after)

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
        self._enter(waiting.content, waiting.offset)

    def _enter(self, content: Content, offset: int) -> None:
        status = content.status()
        start = content.head()
        segment = Segment(
            status.st_dev, status.st_ino, self.position, self.position - offset, Fingerprint.of(start),
            status.st_mtime_ns,
        )  # fmt: skip
        self._segments = [*self._needed(), segment]
        self._content, self._size, self._retired = content, status.st_size, False
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
    def cost(self) -> int:
        """Bytes that the next turn will take at most."""
        return self._want if self._content and self._content.compressed else min(self._want, self.backlog)

    @property
    def backlog(self) -> int:
        """Bytes known to be there and not read yet; 0 for files that wait in line."""
        return max(self._size - self._offset, 0) if self._content else 0

    @property
    def open(self) -> bool:
        """Whether it holds a file."""
        return self._content is not None

    @property
    def drained(self) -> bool:
        """Nothing to read and nothing in line."""
        return not self._next and not self._tail and not self.backlog and not self.parser.held

    def park(self) -> bool:
        """Give up the handle of a quiet file; False if it is not quiet."""
        if self._content is None or self._content.compressed or not self.drained or self.gone_since is not None:
            return False
        self._content.close()
        self._content = None
        return True

    def close(self) -> None:
        """Close all files."""
        for content in (self._content, *(c for c, _, _ in self._lingering), *(n.content for n in self._next)):
            if content is not None:
                content.close()
        self._content, self._lingering = None, []
        self._next.clear()


def _line_start(content: Content, size: int) -> int:
    """The position of the last line's beginning, at most 1 MiB before the end."""
    begin = max(0, size - (1 << 20))
    return begin + os.pread(content.fd, size - begin, begin).rfind(b"\n") + 1
