"""The load balancer and one of its members are killed under load: every trace arrives, whole, at one member."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections import defaultdict
from contextlib import asynccontextmanager

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.otlp import SERVICES
from hawse.codecs.span_writer import scope_spans, span
from hawse.component import Busy
from hawse.net.grpc import GrpcError
from hawse.net.grpc_client import GrpcClient, GrpcClientConfig

pytestmark = pytest.mark.slow

QUIET = {"telemetry": {"metrics": {"level": "none"}}}


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def receiving(port):
    return {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}}


class Processes:
    """hawse run, by name; all are killed in the end."""

    def __init__(self, folder):
        self._folder = folder
        self._running = {}

    async def start(self, name, port, config):
        path = self._folder / f"{name}.yaml"
        path.write_text(json.dumps(config))
        log = (self._folder / f"{name}.log").open("ab")
        command = (sys.executable, "-m", "hawse", "run", "--config", str(path))
        self._running[name] = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
        raise AssertionError((self._folder / f"{name}.log").read_text())

    async def kill(self, name, how=signal.SIGKILL):
        process = self._running.pop(name)
        process.send_signal(how)
        await asyncio.wait_for(process.wait(), 20)

    async def end(self):
        for name in list(self._running):
            await self.kill(name, signal.SIGTERM)


@asynccontextmanager
async def processes(folder):
    made = Processes(folder)
    try:
        yield made
    finally:
        await made.end()


async def load(port, sent, stop):
    """A sender that keeps what is not taken, and sends it again."""
    client = GrpcClient(GrpcClientConfig(endpoint=f"http://127.0.0.1:{port}"))
    while not stop.is_set():
        ids = [os.urandom(16) for _ in range(20)]
        spans = [
            span(trace_id=one, span_id=os.urandom(8), name="n", kind=1, start=1, end=2) for _ in range(3) for one in ids
        ]
        batch = Batch(Signal.TRACES, [Group(Resource.of({"service.name": "s"}), (scope_spans(spans),), 60)])
        while True:
            try:
                await client.call(SERVICES[Signal.TRACES], batch.encode())
                break
            except (Busy, GrpcError):
                await asyncio.sleep(0.05)
        sent += ids
        await asyncio.sleep(0.02)
    await client.close()


def arrived(folder):
    """Trace ID to the spans that each member has of it."""
    found = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("out-*.json"):
        for line in path.read_text().splitlines():
            for group in json.loads(line)["resourceSpans"]:
                for scope in group["scopeSpans"]:
                    for one in scope["spans"]:
                        found[bytes.fromhex(one["traceId"])][path.name[4]].add(one["spanId"])
    return found


def test_every_trace_is_whole_at_one_member(tmp_path):
    front, *backs = free_ports(3)

    def member(number, run=0):
        out = {"path": str(tmp_path / f"out-{number}-{run}.json")}
        pipeline = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
        return {
            "receivers": receiving(backs[number]),
            "exporters": {"file": out},
            "service": {**QUIET, "pipelines": pipeline},
        }

    (tmp_path / "state").mkdir()
    balancer = {
        "receivers": receiving(front),
        "extensions": {"file_storage": {"directory": str(tmp_path / "state")}},
        "exporters": {
            "loadbalancing": {
                "resolver": {"static": {"hostnames": [f"127.0.0.1:{port}" for port in backs]}},
                "protocol": {"otlp": {"tls": {"insecure": True}}},
                "sending_queue": {"storage": "file_storage"},
                "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
            }
        },
        "service": {
            **QUIET,
            "extensions": ["file_storage"],
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["loadbalancing"]}},
        },
    }

    async def run():
        sent, stop = [], asyncio.Event()
        async with processes(tmp_path) as hawse:
            for number in range(2):
                await hawse.start(f"member-{number}", backs[number], member(number))
            await hawse.start("balancer", front, balancer)
            sending = [asyncio.ensure_future(load(front, sent, stop)) for _ in range(3)]
            await asyncio.sleep(0.6)
            await hawse.kill("member-1")
            await asyncio.sleep(0.6)
            await hawse.kill("balancer")
            await hawse.start("balancer", front, balancer)
            await asyncio.sleep(0.6)
            await hawse.start("member-1", backs[1], member(1, run=1))
            stop.set()
            await asyncio.wait_for(asyncio.gather(*sending), 30)
            for _ in range(100):
                found = arrived(tmp_path)
                if all(one in found for one in sent):
                    break
                await asyncio.sleep(0.2)
        found = arrived(tmp_path)
        assert len(sent) > 200
        assert {number for one in found.values() for number in one} == {"0", "1"}
        assert [one for one in sent if len(found[one]) != 1] == []
        assert [one for one in sent if len(next(iter(found[one].values()))) != 3] == []

    asyncio.run(run())
