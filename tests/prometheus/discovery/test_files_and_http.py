"""Targets in files and behind URLs: what is published, what happens when they change, and when they are wrong."""

import asyncio
import json
import os
import time

import pytest

from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.prometheus.decoding import decoded
from hawse.prometheus.discovery import discoverers, file, formats, needs
from hawse.prometheus.discovery.formats import FormatError
from hawse.prometheus.settings import ScrapeConfig


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(file, "LOOK", 0.02)


async def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


def job(**keys):
    return decoded({"job_name": "j", **keys}, ScrapeConfig)


class Found:
    """What a job's discoverers have published, for the length of a block. `last` has the current groups."""

    def __init__(self, config):
        self.discoverers = discoverers(config, None)
        self.published = []
        self.last = {}

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(one.run(self.take)) for one in self.discoverers]
        return self

    async def __aexit__(self, *exc):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def take(self, groups):
        self.published += groups
        for group in groups:
            if group.targets:
                self.last[group.source] = group
            else:
                del self.last[group.source]

    @property
    def addresses(self):
        return sorted(target["__address__"] for group in self.last.values() for target in group.targets)

    @property
    def error(self):
        return self.discoverers[0].error


def write(path, value):
    """As careful programs do: all at once."""
    part = path.with_suffix(".part")
    part.write_text(value if isinstance(value, str) else json.dumps(value))
    os.replace(part, path)


def test_static_targets():
    async def run():
        config = job(static_configs=[{"targets": ["a:1", "b"], "labels": {"x": 1}}, {"targets": ["c"]}])
        async with Found(config) as found:
            await until(lambda: found.discoverers[0].synced)
            assert [(group.source, group.labels) for group in found.published] == [
                ("static:0", {"x": "1"}),
                ("static:1", {}),
            ]
            assert found.addresses == ["a:1", "b", "c"] and found.error == ""

    asyncio.run(run())


def test_files_come_change_break_and_go(tmp_path):
    async def run():
        one, two = tmp_path / "one.json", tmp_path / "two.yml"
        write(one, [{"targets": ["a:1"], "labels": {"x": "1"}}, {"targets": ["b:1"]}])
        async with Found(job(file_sd_configs=[{"files": [f"{tmp_path}/*.json", f"{tmp_path}/*.yml"]}])) as found:
            await until(lambda: found.discoverers[0].synced)
            assert found.addresses == ["a:1", "b:1"]
            assert found.last[f"{one}:0"].labels == {"x": "1", "__meta_filepath": str(one)}
            write(two, "- targets: [c:1]\n  labels: {version: 1.10}\n")
            await until(lambda: "c:1" in found.addresses)
            assert found.last[f"{two}:0"].labels == {"version": "1.10", "__meta_filepath": str(two)}
            before = len(found.published)
            write(one, [{"targets": ["a:1"], "labels": {"x": "1"}}, {"targets": ["b:2"]}])
            await until(lambda: "b:2" in found.addresses)
            assert [group.source for group in found.published[before:]] == [f"{one}:1"]  # only what changed
            write(one, [{"targets": ["a:1"], "labels": {"x": "1"}}])
            await until(lambda: found.addresses == ["a:1", "c:1"])
            write(two, "- targets: [c:1]\n  labls: {}\n")
            await until(lambda: found.error)
            assert "two.yml:2:3" in found.error and 'unknown key "labls"; did you mean "labels"?' in found.error
            assert found.addresses == ["a:1", "c:1"]  # stays as it was
            write(two, "- targets: [d:1]\n")
            await until(lambda: found.addresses == ["a:1", "d:1"] and not found.error)
            one.unlink()
            await until(lambda: found.addresses == ["d:1"])
            two.unlink()
            await until(lambda: found.addresses == [])

    asyncio.run(run())


def test_a_file_that_is_broken_from_the_beginning(tmp_path):
    async def run():
        path = tmp_path / "a.json"
        path.write_text('[{"targets": [1]}]')
        async with Found(job(file_sd_configs=[{"files": [str(path), f"{tmp_path}/none.json"]}])) as found:
            await until(lambda: found.error)
            assert found.error == f"{path}: Expected `str`, got `int` - at `$[0].targets[0]`"
            assert found.published == [] and found.discoverers[0].synced
            write(path, [{"targets": ["a"]}])
            await until(lambda: found.addresses == ["a"])

    asyncio.run(run())


def test_files_that_stay_as_they_are_are_not_read_again(tmp_path, monkeypatch):
    async def run():
        (tmp_path / "good.json").write_text('[{"targets": ["a"]}]')
        (tmp_path / "broken.json").write_text("[")
        reads = []
        real = file._groups
        monkeypatch.setattr(file, "_groups", lambda path: reads.append(path) or real(path))
        async with Found(job(file_sd_configs=[{"files": [f"{tmp_path}/*.json"], "refresh_interval": "1h"}])) as found:
            await until(lambda: found.error and found.addresses == ["a"])
            await asyncio.sleep(0.3)
            assert len(reads) == 2 and "broken.json" in found.error
            (tmp_path / "broken.json").unlink()
            await until(lambda: not found.error)
            assert len(reads) == 2 and found.addresses == ["a"]
        async with Found(job(file_sd_configs=[{"files": [f"{tmp_path}/*.json"], "refresh_interval": "30ms"}])):
            await until(lambda: len(reads) > 5)  # at refresh_interval in any case

    asyncio.run(run())


def test_a_config_map_is_swapped(tmp_path):
    """kubelet points a link to another folder: no file that is watched ever changes."""

    async def run():
        for name in ("v1", "v2"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "t.json").write_text(json.dumps([{"targets": [name]}]))
        (tmp_path / "data").symlink_to(tmp_path / "v1")
        (tmp_path / "t.json").symlink_to(tmp_path / "data" / "t.json")
        async with Found(job(file_sd_configs=[{"files": [f"{tmp_path}/t.json"]}])) as found:
            await until(lambda: found.addresses == ["v1"])
            (tmp_path / "new").symlink_to(tmp_path / "v2")
            os.replace(tmp_path / "new", tmp_path / "data")
            await until(lambda: found.addresses == ["v2"])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Input data was truncated"),
        (b"{}", "Expected `array`, got `object`"),
        (b"[null]", "Expected `object`, got `null`"),
        (b'[{"targets": "a"}]', "Expected `array | null`"),
        (b'[{"labels": {"a": 1}}]', "Expected `str`, got `int`"),
        (b'[{"target": []}]', "unknown field `target`"),
        (b"\xff[]", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_is_no_list_of_groups(body, says):
    with pytest.raises(FormatError) as caught:
        formats.from_json(body, "s", {})
    assert says in str(caught.value)


def test_empty_and_null():
    assert formats.from_json(b"[]", "s", {}) == {}
    made = formats.from_json(b'[{"targets": null, "labels": null}]', "s", {"__meta_url": "u"})
    assert made["s:0"].targets == () and made["s:0"].labels == {"__meta_url": "u"}


class Server:
    """Answers `/sd` with what `answer` is."""

    def __init__(self):
        self.answer = Response(200, "[]", content_type="application/json")
        self.requests = []

    async def __aenter__(self):
        self.servers = HttpServers()
        self.port = await self.servers.mount(
            ServerConfig(endpoint="127.0.0.1:0"), {("GET", "/sd"): self.reply}, owner="t"
        )
        self.url = f"http://127.0.0.1:{self.port}/sd"
        return self

    async def __aexit__(self, *exc):
        await self.servers.close()

    async def reply(self, request):
        self.requests.append(request)
        return self.answer

    def says(self, value, **keys):
        keys = {"content_type": "application/json", **keys}
        self.answer = Response(keys.pop("status", 200), value if isinstance(value, str) else json.dumps(value), **keys)


def test_http_changes_fails_and_comes_back():
    async def run():
        async with Server() as server:
            server.says(
                [{"targets": ["a:1"], "labels": {"x": "1"}}, {"targets": ["b:1"]}],
                content_type="application/json; charset=utf-8",
            )
            keys = {"refresh_interval": "50ms", "basic_auth": {"username": "u", "password": "p"}}
            async with Found(job(http_sd_configs=[{"url": server.url, **keys}])) as found:
                await until(lambda: found.discoverers[0].synced)
                assert found.addresses == ["a:1", "b:1"]
                assert found.last[f"{server.url}:0"].labels == {"x": "1", "__meta_url": server.url}
                headers = server.requests[0].headers
                assert headers["accept"] == "application/json" and headers["authorization"] == "Basic dTpw"
                assert headers["x-prometheus-refresh-interval-seconds"] == "0.05"
                seen = len(server.requests)
                await until(lambda: len(server.requests) > seen + 2)
                assert len(found.published) == 2  # asked again, nothing new
                server.says([{"targets": ["a:1"], "labels": {"x": "1"}}])
                await until(lambda: found.addresses == ["a:1"])
                for answer, error in (
                    (("no", {"status": 503}), "answered HTTP status 503"),
                    (("[]", {"content_type": "text/plain"}), 'unsupported content type "text/plain"'),
                    (([{"targets": [1]}], {}), "Expected `str`, got `int` - at `$[0].targets[0]`"),
                ):
                    server.says(answer[0], **answer[1])
                    await until(lambda: error in found.error)
                    assert found.addresses == ["a:1"]
                server.says([])
                await until(lambda: found.addresses == [] and found.error == "")

    asyncio.run(run())


def test_http_that_is_not_there(caplog):
    async def run():
        async with Server() as server:
            url = server.url
        async with Found(job(http_sd_configs=[{"url": url, "refresh_interval": "20ms"}])) as found:
            await until(lambda: found.error)
            assert "connection refused" in found.error and not found.discoverers[0].synced
            await asyncio.sleep(0.1)

    asyncio.run(run())
    assert sum("connection refused" in record.message for record in caplog.records) == 1  # told once


def test_needs():
    config = job(
        file_sd_configs=[{"files": ["/etc/sd/*.json"]}],
        http_sd_configs=[
            {"url": "https://sd.example.com/x", "bearer_token_file": "/run/token", "tls_config": {"ca_file": "/ca"}}
        ],
    )
    found = {(type(need).__name__, getattr(need, "path", None) or (need.host, need.port)) for need in needs(config)}
    assert found == {
        ("Reads", "/etc/sd/*.json"),
        ("Connects", ("sd.example.com", 443)),
        ("Reads", "/run/token"),
        ("Reads", "/ca"),
    }
