"""How far a log was delivered, in a form that survives restarts, rotation and truncation.

A log is all that a container ever writes under one path: the file there now, and the rotated ones before it, read
one after the other. A position counts bytes along that sequence; segments say which file a stretch of it is in.
"""

import msgspec

from hawse.receivers.filelog.identity import Fingerprint


class Segment(msgspec.Struct, frozen=True):
    """A file of the sequence. It covers the log from `start` to the next segment's start."""

    device: int
    inode: int
    start: int  # position in the log where reading of the file began
    base: int  # position in the log of the file's byte 0 (negative where its beginning was skipped)
    fingerprint: Fingerprint = Fingerprint()
    modified: int = 0  # st_mtime_ns when last looked at


class Unfinished(msgspec.Struct, frozen=True):
    """A line whose beginning was delivered and whose end was not there yet."""

    stream: str
    time: int
    full: bool


class Position(msgspec.Struct, frozen=True):
    """What to go on from. Kept as JSON, one row a log, under the log's path."""

    position: int
    segments: tuple[Segment, ...]
    held: tuple[tuple[int, int], ...] = ()  # read, but not delivered: partial lines, unfinished entries
    unfinished: Unfinished | None = None
    known: tuple[Fingerprint, ...] = ()  # files that are done with, under whatever name they are found


SEARCHED = "searched"  # beside the logs' paths: when the folders were last searched, in nanoseconds since 1970

decode = msgspec.json.Decoder(Position).decode
encode = msgspec.json.Encoder().encode
