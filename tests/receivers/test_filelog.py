"""filelog against real files: whatever was written arrives, once, in order, with the right time and attributes."""

import asyncio
import contextlib
import gzip
import logging
import os
import random
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs

from hawse.batch import Signal
from hawse.component import Busy, NoLedger
from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.receivers import filelog
from hawse.receivers.filelog.operators import Operator
from hawse.state.storage import Storage
from hawse.values import ComponentID, Duration, ExtensionID


class Meter:
    def __init__(self):
        self.gauges = {}

    def counter(self, *_):
        return type("C", (), {"add": lambda *a, **k: None})()

    def gauge(self, name, description, read, **_):
        self.gauges[name] = read


class Context:
    id = ComponentID("filelog")

    def __init__(self, storage):
        self.log = logging.LoggerAdapter(logging.getLogger("filelog"))
        self.meter = Meter()
        self.ledger = NoLedger()
        self.tasks = []
        self._shared = {}
        self._storage = storage

    def spawn(self, coroutine, name):
        self.tasks.append(asyncio.create_task(coroutine, name=name))

    def shared(self, kind):
        return self._shared.setdefault(kind, kind())

    def extension(self, id, kind):
        assert isinstance(self._storage, kind)
        return self._storage


class Sink:
    """Decodes what it is given with OpenTelemetry's own messages."""

    def __init__(self):
        self.records = defaultdict(list)
        self.resources = {}
        self.busy = 0
        self.delay = 0.0
        self.hold = None

    async def consume(self, batch):
        if self.busy:
            self.busy -= 1
            raise Busy("not now", 0.01)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.hold is not None:
            await self.hold.wait()
        for group in batch.groups:
            resource = dict(group.resource.attributes)
            key = (resource.get("k8s.pod.name"), resource.get("log.iostream"))
            self.resources[key] = resource
            message = ResourceLogs.FromString(b"".join(group.scopes))
            records = [r for scope in message.scope_logs for r in scope.log_records]
            assert len(records) == group.items
            self.records[key] += [(r.time_unix_nano, r.body.string_value) for r in records]

    def bodies(self, pod="pod", stream="stdout"):
        return [body for _, body in self.records[pod, stream]]


def config(root, **changes):
    settings = {
        "include": (f"{root}/pods/*/*/*.log",),
        "start_at": "beginning",
        "poll_interval": Duration(0.01),
        "discovery_interval": Duration(0.5),
        "force_flush_period": Duration(0.3),
        "operators": (Operator(type="container"),),
        "storage": ExtensionID("file_storage"),
        "include_file_name": False,
    }
    return filelog.Config(**(settings | changes))


class Running:
    """A receiver between its start and its stop (or its sudden end)."""

    def __init__(self, root, sink, **changes):
        self.root, self.sink = root, sink
        self.config = config(root, **changes)

    async def __aenter__(self):
        self.storage = Storage()
        self.storage.open_storage(f"{self.root}/state")
        self.context = Context(self.storage)
        self.receiver = filelog.FileLog(self.config, self.context, {Signal.LOGS: self.sink})
        try:
            await self.receiver.start()
        except HawseError:
            self.storage.close_storage()
            raise
        return self

    async def __aexit__(self, *error):
        await self.receiver.stop()
        for task in self.context.tasks:
            await task
        self.storage.close_storage()

    async def kill(self):
        """End without a word: nothing more is acknowledged or written."""
        for task in self.context.tasks:
            task.cancel()
        self.receiver._deliveries.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.receiver._close()
        self.storage.close_storage()


async def until(condition, seconds=10.0, *, why=""):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, why() if callable(why) else why or "it did not come to pass"
        await asyncio.sleep(0.01)


class Writer:
    """A container's log as a runtime writes it, and its rotation."""

    def __init__(self, root, pod="pod", restarts=0, zone="Z"):
        self.folder = Path(root) / "pods" / f"ns_{pod}_uid-{pod}" / "app"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"{restarts}.log"
        self.file = self.path.open("ab", buffering=0)
        self.written = []
        self.clock = 1_790_000_000 * 10**9
        self.zone = zone
        self.rotations = 0

    def stamp(self):
        self.clock += 1_234_567
        seconds, nanos = divmod(self.clock, 10**9)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        fraction = f"{nanos:09}".rstrip("0")
        return moment + (f".{fraction}" if fraction else "") + self.zone

    def line(self, body, stream="stdout", tag="F"):
        return f"{self.stamp()} {stream} {tag} {body}\n".encode()

    def write(self, *bodies):
        self.file.write(b"".join(self.line(body) for body in bodies))
        self.written += bodies

    def number(self, count):
        start = len(self.written)
        self.write(*(f"{n} {'x' * (n % 90)}" for n in range(start, start + count)))

    def rename(self, *, compress=False):
        self.rotations += 1
        old = self.path.with_name(f"{self.path.name}.20261124-{self.rotations:06}")
        self.path.rename(old)
        self.file.close()
        self.file = self.path.open("ab", buffering=0)
        if compress:
            self.compress(old)
        return old

    def compress(self, old):
        new = old.with_name(old.name + ".gz")
        temporary = new.with_suffix(".tmp")
        temporary.write_bytes(gzip.compress(old.read_bytes()))
        temporary.rename(new)
        old.unlink()

    def copy_truncate(self):
        self.rotations += 1
        shutil.copy(self.path, self.path.with_name(f"{self.path.name}.20261124-{self.rotations:06}"))
        os.ftruncate(self.file.fileno(), 0)

    def close(self):
        self.file.close()


def complete(sink, *writers):
    return lambda: all(len(sink.bodies(w.folder.parent.name.split("_")[1])) >= len(w.written) for w in writers)


@pytest.fixture
def writer(tmp_path):
    made = Writer(tmp_path)
    yield made
    made.close()


def test_records_have_time_and_attributes(tmp_path, writer):
    async def main():
        sink = Sink()
        async with Running(tmp_path, sink, include_file_name=True, include_file_path=True):
            writer.file.write(
                b"2026-11-24T13:00:00.1234567Z stdout F one\n2026-11-24T18:30:00.000000001+05:30 stderr F two\n"
            )
            await until(lambda: sink.bodies() and sink.bodies(stream="stderr"))
        assert sink.records["pod", "stdout"] == [(1795525200_123456700, "one")]
        assert sink.records["pod", "stderr"] == [(1795525200_000000001, "two")]
        assert sink.resources["pod", "stderr"] == {
            "k8s.namespace.name": "ns", "k8s.pod.name": "pod", "k8s.pod.uid": "uid-pod", "k8s.container.name": "app",
            "k8s.container.restart_count": "0", "log.iostream": "stderr", "log.file.name": "0.log",
            "log.file.path": str(writer.path),
        }  # fmt: skip

    asyncio.run(main())


def test_links_give_the_same_attributes(tmp_path, writer):
    links = tmp_path / "containers"
    links.mkdir()
    (links / f"pod_ns_app-{'a' * 64}.log").symlink_to(writer.path)

    async def main(**changes):
        sink = Sink()
        async with Running(tmp_path, sink, storage=None, **changes):
            await until(lambda: len(sink.bodies()) == 3)
        return sink

    writer.number(3)
    by_link = asyncio.run(main(include=(f"{links}/*.log",)))
    by_path = asyncio.run(main())
    both = asyncio.run(main(include=(f"{links}/*.log", f"{tmp_path}/pods/*/*/*.log")))
    assert by_link.resources == by_path.resources == both.resources
    assert by_link.records == by_path.records == both.records


def test_docker_through_links(tmp_path, writer):
    """containers/ → pods/ → the runtime's own folder, whose name tells nothing."""
    real = tmp_path / "docker" / "abc-json.log"
    real.parent.mkdir()
    real.write_text('{"log":"hi \\u00e9\\n","stream":"stdout","time":"2026-11-24T13:00:00.5Z"}\n')
    writer.path.unlink()
    writer.path.symlink_to(real)

    async def main():
        sink = Sink()
        async with Running(tmp_path, sink):
            await until(lambda: sink.bodies() == ["hi é"])
            assert sink.resources["pod", "stdout"]["k8s.pod.uid"] == "uid-pod"
            os.rename(real, f"{real}.1")
            real.write_text('{"log":"again\\n","stream":"stdout","time":"2026-11-24T13:00:01Z"}\n')
            await until(lambda: sink.bodies() == ["hi é", "again"])

    asyncio.run(main())


def test_pieces_and_a_missing_newline(tmp_path, writer):
    async def main():
        sink = Sink()
        async with Running(tmp_path, sink, force_flush_period=Duration(0.4)):
            line = writer.line("in pieces é")
            for byte in line:
                writer.file.write(bytes([byte]))
                await asyncio.sleep(0.002)
            await until(lambda: sink.bodies() == ["in pieces é"])
            writer.file.write(writer.line("no newline")[:-1])
            await until(lambda: sink.bodies()[1:] == ["no newline"])
            writer.file.write(b" and its rest\n")
            writer.write("next")
            await until(lambda: sink.bodies()[2:] == [" and its rest", "next"])

    asyncio.run(main())


def test_start_at_end_means_the_first_start_only(tmp_path, writer):
    async def main():
        writer.number(5)
        sink = Sink()
        async with Running(tmp_path, sink, start_at="end"):
            writer.write("after")
            other = Writer(tmp_path, "later")
            other.number(3)
            await until(lambda: sink.bodies() == ["after"] and len(sink.bodies("later")) == 3)
        writer.write("while away")
        third = Writer(tmp_path, "third")
        third.number(2)
        async with Running(tmp_path, sink, start_at="end"):
            await until(lambda: sink.bodies() == ["after", "while away"])
        other.close(), third.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["rename", "gz", "copy", "delete"])
def test_rotation_with_a_backlog(tmp_path, writer, how):
    """Rotated several times while the next tier is busy, before anything of the new files was read."""

    async def main():
        sink = Sink()
        sink.hold = asyncio.Event()
        async with Running(tmp_path, sink, max_batches=1):
            writer.number(300)
            await asyncio.sleep(0.1)
            for _ in range(3):
                if how == "rename":
                    writer.rename()
                elif how == "gz":
                    writer.rename(compress=True)
                elif how == "copy":
                    await asyncio.sleep(0.05)
                    writer.copy_truncate()
                else:
                    writer.path.unlink()
                    writer.close()
                    writer.file = writer.path.open("ab", buffering=0)
                writer.number(200)
                await asyncio.sleep(0.1 if how == "delete" else 0.01)
            sink.hold.set()
            await until(complete(sink, writer), why=lambda: f"{len(sink.bodies())} of {len(writer.written)}")
            await asyncio.sleep(0.1)
        assert sink.bodies() == writer.written

    asyncio.run(main())


@pytest.mark.parametrize("how", ["rename", "gz", "copy"])
def test_rotation_while_away(tmp_path, writer, how):
    async def main():
        sink = Sink()
        writer.number(200)
        async with Running(tmp_path, sink):
            await until(complete(sink, writer))
        writer.number(100)
        for _ in range(3):
            if how == "copy":
                writer.copy_truncate()
            else:
                writer.rename(compress=how == "gz")
            writer.number(300)
        async with Running(tmp_path, sink):
            await until(complete(sink, writer), why=lambda: f"{len(sink.bodies())} of {len(writer.written)}")
            await asyncio.sleep(0.1)
        assert sink.bodies() == writer.written

    asyncio.run(main())


def test_late_compression_is_not_a_new_file(tmp_path, writer):
    """The kubelet compresses a file one rotation later: its name, inode and times are new, its content is not."""

    async def main():
        sink = Sink()
        async with Running(tmp_path, sink):
            old = None
            for _ in range(5):
                writer.number(50)
                await until(complete(sink, writer))
                previous, old = old, writer.rename()
                if previous is not None:
                    writer.compress(previous)
                await asyncio.sleep(0.05)
        writer.compress(old)
        writer.rename()
        writer.number(10)
        async with Running(tmp_path, sink):
            await until(complete(sink, writer))
            await asyncio.sleep(0.1)
        assert sink.bodies() == writer.written

    asyncio.run(main())


def test_a_partial_line_goes_on_in_the_next_file_and_the_next_process(tmp_path, writer):
    async def main():
        sink = Sink()
        kept = {"force_flush_period": Duration(30)}
        async with Running(tmp_path, sink, **kept) as running:
            writer.file.write(writer.line("one ", tag="P"))
            writer.write("other stream goes on") if False else writer.file.write(writer.line("err", "stderr"))
            await until(lambda: sink.bodies(stream="stderr") == ["err"])
            writer.rename()
            writer.file.write(writer.line("two ", tag="P"))
            await until(lambda: running.receiver._logs._followed[str(writer.path)].log.position > 100)
            await asyncio.sleep(0.1)
        assert sink.bodies() == []
        async with Running(tmp_path, sink, **kept):
            writer.file.write(writer.line("three"))
            await until(lambda: sink.bodies() == ["one two three"])
        assert sink.bodies(stream="stderr") == ["err"]

    asyncio.run(main())


def test_deleted_while_reading(tmp_path, writer):
    async def main():
        sink = Sink()
        sink.hold = asyncio.Event()
        async with Running(tmp_path, sink, max_batches=1):
            writer.number(100)
            await until(lambda: True)
            await asyncio.sleep(0.1)
            writer.number(40_000)
            shutil.rmtree(writer.folder.parent)
            writer.number(100)
            sink.hold.set()
            await until(complete(sink, writer), why=lambda: f"{len(sink.bodies())} of {len(writer.written)}")
        assert sink.bodies() == writer.written

    asyncio.run(main())


def test_bounded_handles(tmp_path):
    async def main():
        writers = [Writer(tmp_path, f"p{n}") for n in range(40)]
        sink = Sink()
        async with Running(tmp_path, sink, max_concurrent_files=8, include=(f"{tmp_path}/pods/*/*/*.log",)) as running:
            for _ in range(4):
                for writer in writers:
                    writer.number(3)
                await until(complete(sink, *writers), why=lambda: Counter(len(v) for v in sink.records.values()))
                await until(
                    lambda: running.receiver._logs._open_files() <= 8, why=lambda: running.receiver._logs._open_files()
                )
                for writer in writers[::3]:
                    writer.rename()
        for writer in writers:
            assert sink.bodies(writer.folder.parent.name.split("_")[1]) == writer.written
            writer.close()

    asyncio.run(main())


def test_a_noisy_log_does_not_starve_others(tmp_path, writer):
    async def main():
        sink = Sink()
        quiet = Writer(tmp_path, "quiet")
        async with Running(tmp_path, sink):
            writer.number(60_000)
            await until(lambda: sink.bodies())
            quiet.number(1)
            before = len(sink.bodies())
            await until(complete(sink, quiet))
            assert len(sink.bodies()) - before < 50_000
            await until(complete(sink, writer))
        quiet.close()

    asyncio.run(main())


def test_busy_is_tried_again_and_nothing_counts_before(tmp_path, writer):
    async def main():
        sink = Sink()
        sink.busy = 5
        writer.number(100)
        async with Running(tmp_path, sink) as running:
            await until(lambda: sink.busy < 5)
            (row,) = [row for key, row in running.storage.keyspace("filelog").items() if key.startswith("/")]
            assert msgspec.json.decode(row)["position"] == 0
            await until(complete(sink, writer))
        assert sink.bodies() == writer.written

    asyncio.run(main())


def test_reading_stops_where_memory_ends(tmp_path, writer):
    async def main():
        sink = Sink()
        sink.hold = asyncio.Event()
        writer.number(200_000)
        async with Running(tmp_path, sink, max_batches=64) as running:
            budget = running.context.shared(Budget)
            budget.limit = 3 << 20
            await until(lambda: budget.used > 2 << 20)
            await asyncio.sleep(0.3)
            assert budget.used <= budget.limit
            sink.hold.set()
            await until(complete(sink, writer), 30)
        assert budget.used == 0
        assert sink.bodies() == writer.written

    asyncio.run(main())


def test_a_damaged_gzip_is_given_up_and_told(tmp_path, writer, caplog):
    async def main():
        sink = Sink()
        writer.number(2000)
        async with Running(tmp_path, sink):
            await until(complete(sink, writer))
        lost = [f"lost {n} {random.Random(n).random()}" for n in range(3000)]
        writer.file.write(b"".join(writer.line(body) for body in lost))
        old = writer.rename(compress=True)
        old = old.with_name(old.name + ".gz")
        old.write_bytes(old.read_bytes()[:-200])
        os.utime(old, (time.time() - 60, time.time() - 60))
        os.utime(writer.path)
        writer.write("after")
        async with Running(tmp_path, sink) as running:
            await until(lambda: "after" in sink.bodies())
            assert running.context.meter.gauges["hawse_filelog_lost_files"]() == 1
        assert "damaged" in caplog.text

    asyncio.run(main())


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    async def main():
        with pytest.raises(HawseError) as caught:
            async with Running(tmp_path, Sink()):
                pass
        text = str(caught.value)
        assert "Permission denied" in text and f"{tmp_path}/pods" in text and "uid" in text

    monkeypatch.setattr(os, "listdir", refuse)
    (tmp_path / "pods").mkdir()
    asyncio.run(main())


def test_own_logs_are_left_alone(tmp_path, writer, monkeypatch):
    monkeypatch.setenv("POD_NAME", "pod")
    monkeypatch.setenv("POD_NAMESPACE", "ns")

    async def main():
        sink = Sink()
        other = Writer(tmp_path, "other")
        writer.number(3), other.number(3)
        async with Running(tmp_path, sink):
            await until(complete(sink, other))
            assert sink.bodies() == []
        other.close()

    asyncio.run(main())


def test_multiline_only_where_asked(tmp_path, writer):
    trace = ["2026-01-01 boom", "  at a", "  at b", "2026-01-01 fine"]
    operators = (
        Operator(type="container"),
        Operator(
            type="recombine", is_first_entry='body matches "^\\\\d{4}-"', if_='attributes["k8s.pod.name"] == "pod"'
        ),
    )

    async def main():
        sink = Sink()
        other = Writer(tmp_path, "other")
        writer.write(*trace), other.write(*trace)
        async with Running(tmp_path, sink, operators=operators):
            await until(lambda: len(sink.bodies()) == 2 and len(sink.bodies("other")) == 4)
        assert sink.bodies() == ["2026-01-01 boom\n  at a\n  at b", "2026-01-01 fine"]
        assert sink.bodies("other") == trace
        other.close()

    asyncio.run(main())


def test_plain_files_without_operators(tmp_path):
    path = tmp_path / "pods" / "a" / "b" / "c.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"plain\n\nlines \xff\n")

    async def main():
        sink = Sink()
        async with Running(tmp_path, sink, operators=()):
            await until(lambda: len(sink.bodies(None, None)) == 3)
        assert sink.bodies(None, None) == ["plain", "", "lines \ufffd"]

    asyncio.run(main())


def test_a_line_of_ten_megabytes_arrives_whole(tmp_path, writer):
    body = "".join(random.Random(1).choices("abc é🙂", k=3_000_000))

    async def main():
        sink = Sink()
        async with Running(tmp_path, sink):
            writer.write("before", body, "after")
            await until(lambda: "after" in sink.bodies())
        bodies = sink.bodies()
        assert bodies[0] == "before" and bodies[-1] == "after" and "".join(bodies[1:-1]) == body
        assert all(len(b.encode()) <= 1 << 20 for b in bodies)

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(12))
def test_anything_goes(tmp_path, seed):
    """Random writes, rotations, restarts, kills and refusals: every line arrives; without kills, once and in order."""
    chance = random.Random(seed)
    kills = seed % 2 == 1

    async def main():
        writers = [Writer(tmp_path, f"p{n}", zone=chance.choice(["Z", "+02:00"])) for n in range(3)]
        sink = Sink()
        order = {
            "max_batches": 1 if seed % 3 else 4
        }  # several on their way may overtake each other where one is refused
        running = await Running(tmp_path, sink, **order).__aenter__()
        for _ in range(60):
            writer = chance.choice(writers)
            action = chance.choice(
                ["write"] * 6 + ["rename", "gz", "copy", "restart", "busy", "sleep", "sleep", "long"]
            )
            if action == "write":
                writer.number(chance.choice([1, 3, 50, 700]))
            elif action == "long":
                writer.write(f"{len(writer.written)} " + "y" * chance.choice([20_000, 700_000]))
            elif action in {"rename", "gz"}:
                if chance.random() < 0.5:
                    await asyncio.sleep(0.03)
                writer.rename(compress=action == "gz")
            elif action == "copy":
                await asyncio.sleep(0.05)
                writer.copy_truncate()
            elif action == "restart":
                if kills:
                    await running.kill()
                else:
                    await running.__aexit__()
                if chance.random() < 0.5:
                    writer.number(20)
                    writer.rename(compress=chance.random() < 0.5)
                    writer.number(5)
                running = await Running(tmp_path, sink, **order).__aenter__()
            elif action == "busy":
                sink.busy = chance.randrange(4)
            else:
                await asyncio.sleep(chance.random() * 0.1)
        await until(
            lambda: all(set(sink.bodies(f"p{n}")) >= set(w.written) for n, w in enumerate(writers)),
            why=lambda: [
                (len(sink.bodies(f"p{n}")), len(w.written), sorted(set(w.written) - set(sink.bodies(f"p{n}")))[:5])
                for n, w in enumerate(writers)
            ],
        )
        await running.__aexit__()
        for number, writer in enumerate(writers):
            bodies = sink.bodies(f"p{number}")
            if kills:
                assert set(bodies) == set(writer.written)
            else:
                assert (bodies if seed % 3 else sorted(bodies)) == (
                    writer.written if seed % 3 else sorted(writer.written)
                )
            writer.close()

    asyncio.run(main())
