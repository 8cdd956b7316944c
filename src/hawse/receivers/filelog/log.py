"""Reads one log, chunk by chunk: whole lines to the parser, the end of the file with patience."""

import time
from collections.abc import Callable

import msgspec

from hawse.codecs.container_log import SLACK, Records
from hawse.receivers.filelog.identity import FINGERPRINT, Fingerprint
from hawse.receivers.filelog.position import Segment
from hawse.receivers.filelog.sequence import CHUNK, LINGER, Sequence

_GRACE = 1.0  # seconds for which a rotated file's last line may lack its newline
_PARKED_LOOK = 1.0  # seconds between two looks at a file whose handle was given up


class Log(Sequence):
    """The caller polls it, gives it turns, and keeps the `position` of what was delivered."""

    def poll(self, now: float) -> bool:
        """Whether there is something to read, hand out or do. Cheap: one fstat while nothing happens."""
        self._watch_lingering(now)
        if self._content is None:
            if not self._next and now - self._looked > _PARKED_LOOK:
                self._looked = now
                self.look()
            return self.open or bool(self._next)
        offset = self._offset
        if self._content.compressed:
            return True
        self._size = self._content.status().st_size
        if self._size < max(offset, self._segments[-1].fingerprint.size):
            self._truncated(offset)
            return True
        unread = self._size - offset
        if unread > self._tail:
            return True
        oldest = self.parser.oldest_held
        if oldest is not None and now - oldest > self._flush_after:
            return True
        if self._tail:
            return now - self._tail_since > (_GRACE if self._next or self.gone_since else self._flush_after)
        return bool(self._next)

    def turn(self, take: Callable[[int], bytearray], now: float) -> dict[str, Records]:
        """Read one chunk, or do what else is due; returns records by stream.

        `take(n)` gives a buffer of at least n bytes, which the records refer to. `now` is time.monotonic().
        Raises OSError if the file can't be read; the log then stands where it stood.
        """
        observed = time.time_ns()
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
        return self._at_end(buffer, count, now)

    def _damaged(self, now: float) -> None:
        """A gzip that nobody writes any more never gets better: give up what is behind the damage."""
        assert self._content is not None
        if self._content.compressed and abs(time.time() - self._content.status().st_mtime) > LINGER:
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
        if not self._content.compressed and not self._continues(segment, start):
            return False
        fingerprint = Fingerprint.of(start)
        if segment.fingerprint.size < fingerprint.size:
            segment = msgspec.structs.replace(segment, fingerprint=fingerprint)
        modified = self._content.status().st_mtime_ns
        self._segments[-1] = msgspec.structs.replace(segment, modified=modified)
        return offset >= 0

    def _continues(self, segment: Segment, start: bytes) -> bool:
        """Whether a file that begins with `start` is what was there before, with more behind it.

        One of which nothing was known may have been written, copied and truncated before we looked.
        """
        assert self._content is not None
        if segment.fingerprint.size:
            return segment.fingerprint.fits(start)
        return next(self._unknown(self._content), None) is None

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

    def _at_end(self, buffer: bytearray, count: int, now: float) -> dict[str, Records]:
        """The end of what is there: wait, flush, or go on with the next file."""
        assert self._content is not None
        observed = time.time_ns()
        if count != self._tail:
            self._tail, self._tail_since = count, now
        ended = bool(self._next) or self._content.compressed or self.gone_since is not None
        waited = now - self._tail_since
        if count and ended and (waited > _GRACE or self._content.compressed):
            buffer[1 + count] = 10
            records = self.parser.feed(buffer, 1, 2 + count, self.position, observed)
            self.position += count
            self._tail = 0
            return records
        if count and not ended and waited > self._flush_after:
            records = self.parser.feed_unfinished(bytes(buffer[1 : 1 + count]), self.position, observed)
            self.position += count
            self._tail = 0
            return records
        if not count and (self._next or self._content.compressed):
            self._finish(now)
            return {}
        return self.parser.flush(observed, older_than=now - self._flush_after)

    @property
    def cost(self) -> int:
        """Bytes that the next turn will take at most."""
        return self._want if self._content and self._content.compressed else min(self._want, self.backlog)

    @property
    def backlog(self) -> int:
        """Bytes known to be there and not read yet; 0 for files that wait in line."""
        return max(self._size - self._offset, 0) if self._content else 0

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
