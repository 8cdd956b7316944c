import asyncio
import http.client
import time

import pytest

from hawse.backend.faults import Fault, Faults, Settings, parse
from hawse.backend.server import Backend

TEXT = {"content-type": "text/plain"}


async def statuses(call, url, count, path="/"):
    found = []
    for _ in range(count):
        found.append((await call("POST", url + path, b"line", TEXT)).status)
    return found


def test_a_status_with_rate_is_seeded_and_counted(call):
    async def run(seed):
        async with Backend(faults=[Fault(status=503, rate=0.5, retry_after=7)], seed=seed) as backend:
            found = await statuses(call, backend.url, 40)
            assert await backend.count() == found.count(200)
            report = (await call("GET", backend.url + "/api/v1/faults")).json
            assert (report["faults"][0]["matched"], report["faults"][0]["fired"]) == (40, found.count(503))
            return found

    first = asyncio.run(run(1))
    assert set(first) == {200, 503}
    assert asyncio.run(run(1)) == first
    assert asyncio.run(run(2)) != first


def test_status_body_retry_after_times_signal_and_path(call):
    faults = [
        Fault(status=429, retry_after=3, body="slow down", times=2, path="/receiver/*"),
        Fault(status=400, signal="traces"),
    ]

    async def run():
        async with Backend(faults=faults) as backend:
            reply = await call("POST", backend.url + "/receiver/x", b"a", TEXT)
            assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, b"slow down", "3")
            assert await statuses(call, backend.url, 3, "/receiver/x") == [429, 200, 200]
            assert await statuses(call, backend.url, 1, "/other") == [200]
            otlp = {"content-type": "application/x-protobuf"}
            assert (await call("POST", backend.url + "/v1/traces", b"", otlp)).status == 400
            assert (await call("POST", backend.url + "/v1/logs", b"", otlp)).status == 200

    asyncio.run(run())


def test_kept_records_are_there_though_the_sender_was_told_otherwise(call):
    async def run():
        async with Backend(faults=[Fault(status=500, times=1, keep=True)]) as backend:
            assert await statuses(call, backend.url, 2) == [500, 200]
            assert await backend.count() == 2

    asyncio.run(run())


def test_a_delay_delays_and_the_next_rule_goes_on(call):
    async def run():
        async with Backend(faults=[Fault(delay=0.3), Fault(status=503, times=1)]) as backend:
            began = time.monotonic()
            assert await statuses(call, backend.url, 2) == [503, 200]
            assert time.monotonic() - began >= 0.6
            assert await backend.count() == 1

    asyncio.run(run())


def test_connections_are_cut(call):
    async def run():
        async with Backend(faults=[Fault(reset="head", times=1), Fault(reset="body", times=1)]) as backend:
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                await call("POST", backend.url + "/", b"a", TEXT)
            with pytest.raises(http.client.IncompleteRead):
                await call("POST", backend.url + "/", b"a", TEXT)
            assert await statuses(call, backend.url, 1) == [200]
            assert await backend.count() == 1

    asyncio.run(run())


def test_a_hanging_request_is_never_answered_and_holds_up_nothing(call):
    async def run():
        async with Backend(faults=[Fault(hang=True, times=2)]) as backend:
            with pytest.raises(TimeoutError):
                await call("POST", backend.url + "/", b"a", TEXT, timeout=0.5)
            hanging = asyncio.create_task(call("POST", backend.url + "/", b"a", TEXT))
            await asyncio.sleep(0.2)
            assert await statuses(call, backend.url, 1) == [200]
            assert not hanging.done()
            began = time.monotonic()
        assert time.monotonic() - began < 5  # stopping cuts it off
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            await hanging

    asyncio.run(run())


def test_faults_can_be_changed_while_it_runs(call):
    async def run():
        async with Backend() as backend:
            url = backend.url + "/api/v1/faults"
            json = {"content-type": "application/json"}
            reply = await call("PUT", url, b'{"seed": 3, "faults": [{"status": 503}]}', json)
            assert reply.json["faults"] == [{"id": "fault-1", "status": 503, "matched": 0, "fired": 0}]
            assert await statuses(call, backend.url, 1) == [503]
            status = (await call("GET", backend.url + "/api/v1/status")).json
            assert (status["seed"], status["faults"][0]["fired"]) == (3, 1)
            assert 'fired_total{fault="fault-1"} 1' in (await call("GET", backend.url + "/metrics")).body.decode()
            for body, said in [
                (b'{"faults": [{"status": 42}]}', "42 is no final status"),
                (b'{"faults": [{"status": 503, "hang": true}]}', "exclude each other"),
                (b'{"faults": [{"rate": 0.5}]}', "does nothing"),
                (b'{"faults": [{"status": 503, "rate": 2}]}', "<= 1.0"),
                (b'{"faults": [{"statu": 503}]}', "statu"),
                (b'{"faults": [{"delay": 1, "retry_after": 2}]}', "retry_after needs a status"),
                (b'{"faults": [{"id": "a", "hang": true}, {"id": "a", "delay": 1}]}', "same id"),
                (b"{", "truncated"),
            ]:
                reply = await call("PUT", url, body, json)
                assert (reply.status, said in reply.json["error"]) == (400, True), reply.body
            assert (await call("PUT", url, b"{}", TEXT)).status == 415
            assert await statuses(call, backend.url, 1) == [503], "a refused change leaves the old rules"
            assert (await call("DELETE", url)).json == {"seed": 0, "faults": []}
            assert await statuses(call, backend.url, 1) == [200]

    asyncio.run(run())


def test_rules_of_the_command_line():
    assert parse("status=503,rate=0.1,retry_after=2,delay=200ms") == Fault(
        status=503, rate=0.1, retry_after=2, delay=0.2
    )
    assert parse("hang, signal=logs, times=3") == Fault(hang=True, signal="logs", times=3)
    assert parse("reset=body,path=/v1/*,delay=1.5") == Fault(reset="body", path="/v1/*", delay=1.5)
    for text, said in [
        ("statsu=503", "'statsu' is no key of a fault; there are id"),
        ("delay=soon", "'soon' is no duration"),
        ("reset=tail", "Invalid enum value 'tail'"),
        ("rate=0.5", "does nothing"),
        ("", "does nothing"),
    ]:
        with pytest.raises(ValueError, match=said.replace("(", r"\(")):
            parse(text)


def test_a_spent_rule_does_not_shift_the_dice_of_others():
    def drawn(times):
        faults = Faults([Fault(id="a", delay=1, rate=0.5, times=times), Fault(id="b", delay=1, rate=0.5)], seed=9)
        return ["b" in [fault.id for fault in faults.draw("/", "logs")] for _ in range(50)]

    async def run():
        assert drawn(0) == drawn(1)
        faults = Faults()
        faults.replace(Settings([Fault(status=503)]))
        assert [fault.status for fault in faults.draw("/", "logs")] == [503]

    asyncio.run(run())
