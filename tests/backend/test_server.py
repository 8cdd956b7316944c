import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hawse.backend.columns import LATEST
from hawse.backend.server import Backend
from hawse.backend.store import Limits
from hawse.cli import main
from hawse.diagnostics import HawseError


def started(*arguments):
    """`hawse backend` as a process, and its URL."""
    command = [sys.executable, "-c", "import sys; from hawse.cli import main; sys.exit(main())", "backend", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    match = re.match(r"backend: (http://\S+)", process.stdout.readline())
    if match is None:
        raise AssertionError(process.communicate())
    assert process.stdout.readline().startswith("store: ")
    return process, match[1]


def get(url):
    with urllib.request.urlopen(url, timeout=20) as got:
        return json.loads(got.read())


def test_everything_answered_with_200_survives_kill_9(tmp_path):
    store = tmp_path / "s.db"
    process, url = started("--listen", "127.0.0.1:0", "--store", str(store))
    acknowledged, stop = [], threading.Event()

    def post(sender):
        for n in range(100_000):
            lines = b"".join(b"%d-%d-%d %s\n" % (sender, n, k, os.urandom(50).hex().encode()) for k in range(20))
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(url, lines, {"x-sumo-name": f"s{sender}"}), timeout=10
                ):
                    acknowledged.extend(lines.decode().splitlines())
            except (OSError, urllib.error.URLError):
                return
            if stop.is_set():
                return

    threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    process.kill()
    stop.set()
    for thread in threads:
        thread.join()
    process.communicate()
    assert len(acknowledged) > 200

    async def run():
        async with Backend(store=store) as backend:
            return [record["body"] for record in await backend.records()]

    held = asyncio.run(run())
    assert len(held) == len(set(held))
    assert set(acknowledged) <= set(held)
    assert len(set(held) - set(acknowledged)) <= 4 * 20  # what was on its way


def test_sigterm_ends_it_cleanly(tmp_path):
    process, url = started("--listen", "127.0.0.1:0", "--store", str(tmp_path / "s.db"), "--max-age", "1h")
    with urllib.request.urlopen(urllib.request.Request(url, b"a\nb\n")) as got:
        assert got.status == 200
    assert get(url + "/logs/count") == {"count": 2}
    assert get(url + "/api/v1/status")["store"]["max_age_seconds"] == 3600
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert not Path(f"{tmp_path}/s.db-wal").exists(), "the write-ahead log is put into the file"


def test_mistakes_on_the_command_line_are_told(capsys, tmp_path):
    for arguments, said in [
        (["--fault", "statsu=503"], "'statsu' is no key of a fault"),
        (["--max-size", "3parsecs"], "'3parsecs' is no size"),
        (["--listen", "localhost"], "'localhost' has no port"),
        (["--max-age", "3"], "'3' is no duration"),
    ]:
        assert main(["backend", *arguments]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "text").write_text("no database")
    assert main(["backend", "--listen", "127.0.0.1:0", "--store", str(tmp_path / "text")]) == 3
    assert "error [HW803]" in capsys.readouterr().err


def test_a_port_in_use_and_a_store_in_use_are_told(tmp_path):
    async def run():
        async with Backend(store=tmp_path / "a.db") as backend:
            with pytest.raises(HawseError, match=f"port {backend.port} is in use"):
                await Backend(f"127.0.0.1:{backend.port}", tmp_path / "b.db").start()
            with pytest.raises(HawseError, match="in use by another hawse backend"):
                await Backend(store=tmp_path / "a.db").start()
            async with Backend(store=tmp_path / "b.db"):
                pass  # nothing of the first try is left

    asyncio.run(run())


def test_paging_is_stable_while_records_arrive(send, record, call):
    async def run():
        async with Backend() as backend:
            await send(backend.url, {}, [record(f"old {n}", time=10**18 + n) for n in range(500)])
            found, cursor, n = [], "", 0
            while cursor is not None:
                page = await backend.ask("search", {"limit": "41", **({"cursor": cursor} if cursor else {})})
                found += [r["body"] for r in page["records"]]
                cursor = page["next"]
                n += 1
                await send(backend.url, {}, [record(f"new {n}", time=2 * 10**18 + n)] * 7)
            assert found == [f"old {n}" for n in reversed(range(500))]

    asyncio.run(run())


def test_a_regular_expression_that_never_ends_is_stopped_and_blocks_nobody(send, record, call):
    async def run():
        async with Backend(search_seconds=0.5) as backend:
            await send(backend.url, {}, [record("a" * 60 + "!")])
            slow = asyncio.create_task(call("GET", backend.url + "/api/v1/logs/count", query={"q": "(a+)+$"}))
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await send(backend.url, {}, [record("meanwhile")])
            assert await backend.count({"q": "meanwhile"}) == 1
            assert time.monotonic() - began < 2
            reply = await slow
            assert (reply.status, "longer than 0.5 s" in reply.json["error"]) == (504, True)
            assert await backend.count() == 2

    asyncio.run(run())


def test_a_client_that_leaves_does_not_spoil_the_next_one_s_answer(send, record, call):
    async def run():
        async with Backend() as backend:
            await send(backend.url, {}, [record("x" * 40_000 + "y")] * 200)
            reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
            writer.write(b"GET /api/v1/logs/count?q=(x%2Bx%2B)%2Bz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.3)
            writer.close()
            await writer.wait_closed()
            for _ in range(4):
                assert await backend.count() == 200

    asyncio.run(run())


def test_dump_streams_everything(send, record, call):
    async def run():
        async with Backend() as backend:
            for n in range(12):
                await send(backend.url, {"n": str(n)}, [record("z" * 1000 + str(k)) for k in range(300)])
            reply = await call("GET", backend.url + "/api/v1/logs/dump", query={"n": "[1-9].*"})
            assert reply.headers["content-type"] == "application/x-ndjson"
            lines = [json.loads(line) for line in reply.body.splitlines()]
            assert [line["body"] for line in lines] == ["z" * 1000 + str(k) for k in range(300)] * 11
            assert (await call("GET", backend.url + "/api/v1/logs/dump", query={"q": "("})).status == 400

    asyncio.run(run())


def test_limits_hold_over_http(send, record, call):
    async def run():
        async with Backend(limits=Limits(max_records=100)) as backend:
            for n in range(30):
                await send(backend.url, {"n": str(n)}, [record(f"{n}.{k}", time=1 + n) for k in range(10)])
                assert await backend.count() == min(100, 10 * (n + 1))
            logs = (await call("GET", backend.url + "/api/v1/status")).json["signals"]["logs"]
            assert (logs["accepted"], logs["held"], logs["expired"]) == (300, 100, 200)
            assert (await backend.records())[0]["body"] == "20.0"

    asyncio.run(run())


def test_a_store_that_cannot_be_written_is_told_and_nothing_is_acknowledged(call):
    async def run():
        async with Backend() as backend:
            assert backend._intake is not None
            store = backend._intake._store
            (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
            store._connection.execute(f"PRAGMA max_page_count={pages + 4}")
            body = os.urandom(200_000).hex().encode()
            reply = await call("POST", backend.url + "/", body)
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert b"full" in reply.body
            reply = await call("GET", backend.url + "/healthz")
            assert (reply.status, b"full" in reply.body) == (503, True)
            assert await backend.count() == 0
            store._connection.execute(f"PRAGMA max_page_count={LATEST >> 32}")
            assert (await call("POST", backend.url + "/", body)).status == 200
            assert (await call("GET", backend.url + "/healthz")).body == b"ok\n"
            assert await backend.count() == 1

    asyncio.run(run())
