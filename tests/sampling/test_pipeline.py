"""Samplers inside a service: what clients are told, what the ledger says, and that a kill loses nothing that was
acknowledged.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.pipeline.check import check
from hawse.pipeline.ledger.report import report
from hawse.pipeline.running import running
from hawse.pipeline.telemetry import Telemetry
from hawse.registry import Registry
from tests.sampling.traces import a_span, batch, trace_id


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(port, out, acknowledge, wait):
    sampler = {
        "decision_wait": wait,
        "acknowledge": acknowledge,
        "policies": [{"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}],
    }
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {"tail_sampling": sampler},
        "exporters": {"file": {"path": str(out), "format": "proto", "append": True}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["tail_sampling"], "exporters": ["file"]},
            },
        },
    }


async def post(port, body):
    """The status of an answer, None where there was none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    head = (
        f"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        writer.write(head.encode() + body)
        line = await reader.readline()
        return int(line.split()[1]) if line else None
    except OSError:
        return None
    finally:
        writer.close()


def bodies(amount, first=0):
    """Requests of two traces each, of which the first has failed; and the ids of those that failed."""
    made = {}
    for number in range(first, first + amount):
        spans = [a_span(2 * number, 1, status=2), a_span(2 * number, 2), a_span(2 * number + 1)]
        made[trace_id(2 * number)] = batch(*spans).encode()
    return made


def arrived(path):
    """How often each trace is in the file, by spans."""
    found = {}
    data = path.read_bytes() if path.exists() else b""
    while data:
        size = int.from_bytes(data[:4], "big")
        request = ExportTraceServiceRequest.FromString(data[4 : 4 + size])
        data = data[4 + size :]
        for group in request.resource_spans:
            for one in (span for scope in group.scope_spans for span in scope.spans):
                found[one.trace_id] = found.get(one.trace_id, 0) + 1
    return found


@pytest.mark.parametrize("acknowledge", ["decided", "received"])
def test_every_span_is_in_the_ledger(tmp_path, acknowledge):
    port, out, telemetry = free_port(), tmp_path / "out", Telemetry()
    document = configuration(port, out, acknowledge, "500ms")
    checked = check([f"yaml:{yaml.safe_dump(document)}"], Registry, environ={})
    assert checked.findings == ()

    async def body():
        async with running(checked.graph, telemetry):
            sent = bodies(20)
            assert set(await asyncio.gather(*(post(port, one) for one in sent.values()))) == {200}
            answered = len(arrived(out))
            again = [post(port, one) for one in list(sent.values())[:5]] if acknowledge == "decided" else []
            assert set(await asyncio.gather(*again)) <= {200}  # late: decided already
            return answered

    answered = asyncio.run(body())
    assert answered == (20 if acknowledge == "decided" else 0)
    late = 5 if acknowledge == "decided" else 0
    assert sum(arrived(out).values()) == 2 * (20 + late)
    (line,) = report(telemetry.ledger).totals
    assert (line.received, line.delivered, line.filtered) == (3 * (20 + late), 2 * (20 + late), 20 + late)
    assert not line.unaccounted


@asynccontextmanager
async def service(path, port):
    """`hawse run` in a process of its own, once its port is open."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hawse", "run", "--config", str(path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ},
    )  # fmt: skip
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                assert child.returncode is None, (await child.stderr.read()).decode()
                await asyncio.sleep(0.05)
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGKILL)
        await child.communicate()


def test_a_kill_in_the_middle_loses_nothing_that_was_acknowledged(tmp_path):
    port, out, config = free_port(), tmp_path / "out", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(port, out, "decided", "400ms")))
    acknowledged, open_ = set(), dict(bodies(60))

    async def send(id_, body, after):
        await asyncio.sleep(after)
        if await post(port, body) == 200:
            acknowledged.add(id_)

    async def body():
        async with service(config, port) as child:
            sending = [
                asyncio.create_task(send(id_, one, 0.025 * number)) for number, (id_, one) in enumerate(open_.items())
            ]
            while len(acknowledged) < 10:
                await asyncio.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            await child.wait()
            await asyncio.gather(*sending)
        before = set(acknowledged)
        assert 10 <= len(before) < 60
        assert before <= set(arrived(out))
        async with service(config, port):  # what was not acknowledged comes again, as from any client
            await asyncio.gather(*(send(id_, one, 0) for id_, one in open_.items() if id_ not in before))
        return before

    before = asyncio.run(body())
    assert acknowledged == set(open_)
    found = arrived(out)
    assert set(found) == set(open_)  # and none of the traces that did not fail
    assert all(found[id_] == 2 for id_ in before)


def test_the_ledger_is_even_after_clients_gave_up_and_came_again(tmp_path):
    port, out, telemetry = free_port(), tmp_path / "out", Telemetry()
    document = configuration(port, out, "decided", "500ms")
    checked = check([f"yaml:{yaml.safe_dump(document)}"], Registry, environ={})

    async def give_up(body):
        async with asyncio.timeout(0.2):
            await post(port, body)

    async def body():
        async with running(checked.graph, telemetry):
            sent = list(bodies(10).values())
            gone = await asyncio.gather(*map(give_up, sent), return_exceptions=True)
            assert {type(one) for one in gone} == {TimeoutError}
            await asyncio.sleep(0.1)
            assert set(await asyncio.gather(*(post(port, one) for one in sent))) == {200}

    asyncio.run(body())
    (line,) = report(telemetry.ledger).totals
    assert not line.unaccounted
    assert line.delivered == sum(arrived(out).values())
    assert (line.received, line.delivered, line.filtered) == (30, 20, 10)
