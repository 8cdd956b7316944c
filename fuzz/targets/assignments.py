"""What a target allocator answers its clients, and gzip that is undone while it comes."""

import gzip
import json
import zlib
from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.net.compression import Malformed, TooLarge
from hawse.net.inflate import Inflater
from hawse.prometheus.settings import GlobalConfig
from hawse.receivers.prometheus import assignments

_JOB = {
    "scrape_interval": "30s",
    "params": {"a": ["b"]},
    "basic_auth": {"username": "u", "password": "<secret>"},
    "tls_config": {"ca_file": "/ca", "insecure_skip_verify": False},
    "relabel_configs": [{"source_labels": ["a"], "regex": "(.*)", "target_label": "b", "action": "replace"}],
    "kubernetes_sd_configs": [{"role": "pod"}],
    "unknown": {"x": [1]},
}
_ITEMS = [{"targets": ["h:1", "h:2"], "labels": {"a": "b"}}, {"targets": [], "labels": {}}]
_LIMIT = 1 << 16
_ABOVE = GlobalConfig()


def _jobs(data: bytes) -> None:
    """A job is made or refused with a reason; what was left out does not come back."""
    try:
        found = assignments.jobs(data)
    except ValueError:
        return
    for name, raw in found.items():
        try:
            job, _ = assignments.job(name, raw, _ABOVE)
        except assignments.JobError as error:
            assert str(error)
            continue
        assert job.job_name == name
        assert not (job.static_configs or job.kubernetes_sd_configs)


def _targets(data: bytes) -> None:
    """The same answer twice changes nothing, and an empty one takes away what came."""
    mine = assignments.Targets()
    try:
        first = mine.changes(data)
    except ValueError:
        first = []
    else:
        assert mine.changes(data) == []
    gone = mine.changes(b"[]")
    assert {group.source for group in gone} == {group.source for group in first}
    try:
        assignments.has(data, {"__address__": "h:1"}, {"a": "b"})
    except ValueError:
        return


def _inflate(data: bytes) -> None:
    """Cut as the first byte says, and in one: the same, and the same as zlib's where that has no complaint."""
    step, body = (data[0] if data else 0) + 1, data[1:]
    one, many = _inflated([body]), _inflated([body[at : at + step] for at in range(0, len(body), step)])
    # What is wrong with it may be found at another place: whether too much comes out before depends on the cut.
    assert one == many or not (isinstance(one, bytes) or isinstance(many, bytes))
    if isinstance(one, bytes):
        try:
            assert gzip.decompress(body) == one
        except (zlib.error, OSError, EOFError):  # it looks at more of the header
            return


def _inflated(pieces: list[bytes]) -> bytes | type[Exception]:
    inflater = Inflater(_LIMIT)
    try:
        found = b"".join(out for piece in pieces for out in inflater.feed(piece))
        inflater.finish()
    except (Malformed, TooLarge) as error:
        return type(error)
    return found


def _job_seeds() -> Iterator[bytes]:
    yield json.dumps({"a/b": _JOB, "c": {}}).encode()
    yield b'{"a": {"relabel_configs": [{"action": "keepequal", "regex": "$(SHARD)"}]}}'


def _target_seeds() -> Iterator[bytes]:
    yield json.dumps(_ITEMS).encode()
    yield json.dumps({"c": {"_link": "/jobs", "targets": _ITEMS}, "d": {"targets": None}}).encode()


def _gzip_seeds() -> Iterator[bytes]:
    for step in (0, 7, 255):
        yield bytes([step]) + gzip.compress(b"a 1\n" * 50) + gzip.compress(b"")
    yield b"\x03" + gzip.compress(bytes(1 << 17))


_WORDS = tuple(f'"{word}"'.encode() for word in (*_JOB, "targets", "labels", "$(SHARD)", "_link"))
TARGETS = table(
    Target("allocator_jobs", _jobs, _job_seeds, _WORDS),
    Target("allocator_targets", _targets, _target_seeds, _WORDS),
    Target("inflate", _inflate, _gzip_seeds),
)
