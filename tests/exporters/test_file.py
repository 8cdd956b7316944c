"""The file exporter: what is in the file, whatever happens to the disk."""

import asyncio
import errno
import json
import logging
import os
import struct
from pathlib import Path

import pytest
import zstandard
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, NoLedger, Refused, Writes
from hawse.diagnostics import HawseError
from hawse.exporters.file import Config, File, Rotation, factory


class Context:
    log = logging.LoggerAdapter(logging.getLogger("file"))
    ledger = NoLedger()


def logs(*bodies):
    records = b"".join(wire.field(2, wire.field(5, wire.encode_value(body))) for body in bodies)
    return Batch(Signal.LOGS, [Group(Resource.of({"a": "b"}), (wire.field(2, records),), len(bodies))])


def write(config, *batches, between=lambda: None):
    async def run():
        exporter = File(config, Context())
        await exporter.start()
        try:
            for batch in batches:
                await exporter.consume(batch)
                between()
        finally:
            await exporter.stop()

    asyncio.run(run())


def messages(data):
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def bodies(path):
    found = []
    for line in Path(path).read_text().splitlines():
        request = json_format.Parse(line, logs_service_pb2.ExportLogsServiceRequest())
        found += [r.body.string_value for g in request.resource_logs for s in g.scope_logs for r in s.log_records]
    return found


def test_json_lines(tmp_path):
    path = tmp_path / "out.json"
    write(Config(path=str(path)), logs("one", "two\nlines"), logs("three"))
    assert bodies(path) == ["one", "two\nlines", "three"]
    assert len(path.read_text().splitlines()) == 2
    assert oct(path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("fsync", [False, True])
def test_proto_is_length_prefixed(tmp_path, fsync):
    path = tmp_path / "out"
    batches = [logs("one"), logs("two")]
    write(Config(path=str(path), format="proto", fsync=fsync), *batches)
    assert list(messages(path.read_bytes())) == [batch.encode() for batch in batches]


@pytest.mark.parametrize("form", ["json", "proto"])
def test_compressed_messages_are_length_prefixed_in_any_format(tmp_path, form):
    path = tmp_path / "out"
    write(Config(path=str(path), format=form, compression="zstd"), logs("one"), logs("two"))
    plain = [zstandard.ZstdDecompressor().decompress(data) for data in messages(path.read_bytes())]
    if form == "proto":
        assert plain == [logs("one").encode(), logs("two").encode()]
    else:
        assert [json.loads(data)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"] for data in plain] == [
            {"stringValue": "one"},
            {"stringValue": "two"},
        ]


@pytest.mark.parametrize(
    ("settings", "kept"), [({}, []), ({"append": True}, ["old"]), ({"rotation": Rotation()}, ["old"])]
)
def test_what_is_there_at_start(tmp_path, settings, kept):
    path = tmp_path / "out.json"
    write(Config(path=str(path)), logs("old"))
    write(Config(path=str(path), **settings), logs("new"))
    assert bodies(path) == [*kept, "new"]


def test_rotation_keeps_every_message_and_the_youngest_backups(tmp_path):
    path = tmp_path / "out.json"
    foreign = tmp_path / "out-not-a-time.json"
    foreign.write_text("mine")
    size = 300_000
    sent = [f"{number:02}" + "x" * size for number in range(20)]
    write(Config(path=str(path), rotation=Rotation(max_megabytes=1, max_backups=2)), *map(logs, sent))
    backups = sorted(tmp_path.glob("out-2*.json"))
    assert len(backups) == 2
    found = [body for file in (*backups, path) for body in bodies(file)]
    assert found == sent[-len(found) :]
    assert len(found) == 8
    assert all(file.stat().st_size <= 1 << 20 for file in (*backups, path))
    assert foreign.read_text() == "mine"


def test_rotation_without_bound_loses_nothing(tmp_path):
    path = tmp_path / "out"
    sent = [f"{number:02}" + "x" * 600_000 for number in range(6)]
    write(Config(path=str(path), rotation=Rotation(max_megabytes=1, max_backups=0, localtime=True)), *map(logs, sent))
    found = [body for file in (*sorted(tmp_path.glob("out-*")), path) for body in bodies(file)]
    assert found == sent


def test_old_backups_go(tmp_path):
    path = tmp_path / "out.json"
    (tmp_path / "out-2001-02-03T04-05-06.789.json").write_text("old")
    sent = ["x" * 800_000, "y" * 800_000]
    write(Config(path=str(path), rotation=Rotation(max_megabytes=1, max_days=1)), *map(logs, sent))
    assert not (tmp_path / "out-2001-02-03T04-05-06.789.json").exists()
    assert len(list(tmp_path.glob("out-*"))) == 1


def test_a_full_disk_is_busy_and_leaves_whole_messages(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    real = os.write
    full = [False]

    def half(file, data):
        if full[0]:
            if len(data) < 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(file, data[: len(data) // 2])
        return real(file, data)

    async def run():
        exporter = File(Config(path=str(path)), Context())
        await exporter.start()
        await exporter.consume(logs("one"))
        monkeypatch.setattr(os, "write", half)
        full[0] = True
        with pytest.raises(Busy, match=f"cannot write {path}: No space left on device"):
            await exporter.consume(logs("two"))
        assert bodies(path) == ["one"]
        full[0] = False
        await exporter.consume(logs("two"))
        await exporter.stop()

    asyncio.run(run())
    assert bodies(path) == ["one", "two"]


def test_a_real_device_without_space():
    with pytest.raises(Busy, match="No space left"):
        write(Config(path="/dev/full"), logs("one"))


def test_a_deleted_file_is_made_again(tmp_path):
    path = tmp_path / "out.json"
    write(
        Config(path=str(path), append=True),
        logs("one"),
        logs("two"),
        between=lambda: path.unlink(missing_ok=True) if len(bodies(path)) == 1 and bodies(path) == ["one"] else None,
    )
    assert bodies(path) == ["two"]


def test_a_folder_that_goes_while_rotating_is_busy_until_it_is_back(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()

    async def run():
        exporter = File(Config(path=str(folder / "out"), rotation=Rotation(max_megabytes=1)), Context())
        await exporter.start()
        await exporter.consume(logs("x" * 800_000))
        folder.rename(tmp_path / "away")
        for _ in range(2):
            with pytest.raises(Busy, match="cannot write"):
                await exporter.consume(logs("y" * 800_000))
        (tmp_path / "away").rename(folder)
        await exporter.consume(logs("y" * 800_000))
        await exporter.stop()

    asyncio.run(run())
    assert sum(len(bodies(file)) for file in folder.iterdir()) == 2


@pytest.mark.parametrize("path", ["missing/out.json", "."])
def test_a_file_that_cannot_be_opened_is_told(tmp_path, path):
    with pytest.raises(HawseError, match="HW320.*cannot write"):
        write(Config(path=str(tmp_path / path)))


def test_malformed_records_are_refused(tmp_path):
    bad = Batch(Signal.LOGS, [Group(Resource(b""), (b"\x12\x05\x12\xff",), 1)])
    with pytest.raises(Refused):
        write(Config(path=str(tmp_path / "out")), bad)
    assert (tmp_path / "out").read_bytes() == b""


def test_problems_and_needs(tmp_path):
    path = str(tmp_path / "out.json")
    assert [need.path for need in factory.needs(Config(path=path))] == [path]
    (need,) = factory.needs(Config(path=path, rotation=Rotation()))
    assert need == Writes(str(tmp_path), "telemetry")
    assert [problem.path for problem in Config(path=path, append=True, rotation=Rotation()).problems()] == ["append"]
    assert not list(Config(path=path).problems())
