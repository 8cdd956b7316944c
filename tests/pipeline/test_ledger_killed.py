"""A process with a queue on disk, killed again and again while records come and go: its ledger adds up every time."""

import asyncio
import json
import os
import random
import signal
import sys
import time

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Busy
from hawse.demo.supervise import free_port
from hawse.net.client import HttpClient
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, ServerConfig
from hawse.pipeline.ledger.report import report
from hawse.pipeline.ledger.store import kept
from hawse.values import Duration

CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
processors: {{source: {{exclude: {{k8s.pod.name: "^x"}}}}}}
exporters:
  otlphttp:
    endpoint: http://127.0.0.1:{sink}
    retry_on_failure: {{initial_interval: 20ms, max_interval: 50ms}}
    sending_queue: {{storage: file_storage, num_consumers: 2}}
extensions: {{file_storage: {{directory: {state}}}}}
service:
  extensions: [file_storage]
  pipelines: {{logs: {{receivers: [otlp], processors: [source], exporters: [otlphttp]}}}}
  telemetry: {{metrics: {{address: "127.0.0.1:{metrics}"}}, logs: {{level: error}}}}
"""
PODS = ("web", "db", "xy", "cart")
KILLS = 5


class Sink:
    """Takes most of what comes; counts the records that it has said 200 to, by pod."""

    def __init__(self, dice):
        self.dice, self.taken = dice, dict.fromkeys(PODS, 0)

    async def __call__(self, request):
        await asyncio.sleep(self.dice.random() * 0.02)
        if self.dice.random() < 0.2:
            return Response(503)
        for group in otlp.decode(Signal.LOGS, request.body).groups:
            self.taken[group.resource.attributes["k8s.pod.name"]] += group.items
        return Response(200)


class Sender:
    """Sends without an end; counts what was acknowledged, by pod."""

    def __init__(self, port, dice):
        self.client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{port}", timeout=Duration(5)))
        self.dice, self.acknowledged, self.going = dice, dict.fromkeys(PODS, 0), True

    async def run(self):
        while self.going:
            counts = {pod: self.dice.randint(1, 5) for pod in self.dice.sample(PODS, 2)}
            groups = [
                Group(Resource.of({"k8s.pod.name": pod}), (b"\x12" + bytes([2 * n]) + b"\x12\x00" * n,), n)
                for pod, n in counts.items()
            ]
            body = Batch(Signal.LOGS, groups).encode()
            try:
                answer = await self.client.request(
                    "POST", "/v1/logs", [body], {"content-type": "application/x-protobuf"}
                )
            except Busy:
                await asyncio.sleep(0.02)
                continue
            if answer.status == 200:
                for pod, n in counts.items():
                    self.acknowledged[pod] += n


async def ledger(client, port):
    answer = await client.request("GET", f"http://127.0.0.1:{port}/ledger?by=source")
    return json.loads(answer.body)


async def answers(client, port):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            return await ledger(client, port)
        except Busy:
            await asyncio.sleep(0.02)
    raise AssertionError("it does not start")


async def scenario(tmp_path, dice):
    taken = set()
    ports = {name: free_port(0, taken) for name in ("otlp", "metrics")}
    sink, servers = Sink(dice), HttpServers()
    route = {("POST", "/v1/logs"): sink}
    ports["sink"] = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), route, owner="sink")
    (tmp_path / "c.yaml").write_text(CONFIG.format(state=tmp_path / "state", **ports))
    sender = Sender(ports["otlp"], dice)
    senders = [asyncio.create_task(sender.run()) for _ in range(3)]
    command = [sys.executable, "-m", "hawse", "run", "--no-watch", "-c", str(tmp_path / "c.yaml")]
    for number in range(KILLS + 1):
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ})
        now = await answers(sender.client, ports["metrics"])
        assert now["balanced"], now
        if number == KILLS:
            break
        await asyncio.sleep(0.05 + dice.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        left = report(kept(str(tmp_path / "state")), sources=True)
        assert left.balanced, left
    sender.going = False
    await asyncio.gather(*senders)
    until = time.monotonic() + 30
    while (now := await ledger(sender.client, ports["metrics"]))["totals"][0]["in_flight"]:
        assert time.monotonic() < until, now
        assert now["balanced"]
        await asyncio.sleep(0.02)
    process.terminate()
    await process.wait()
    await sender.client.close()
    await servers.close()
    return now, sink.taken, sender.acknowledged


def test_it_adds_up_after_every_kill(tmp_path):
    now, taken, acknowledged = asyncio.run(scenario(tmp_path, random.Random(7)))
    (total,) = now["totals"]
    assert (total["in_flight"], total["refused"], total["dropped"], total["unaccounted"]) == (0, 0, 0, 0)
    sources = {line["source"]: line for line in now["sources"]}
    for pod in PODS:
        line = sources[pod]
        gone = line["filtered"] if pod == "xy" else line["delivered"]
        assert line["received"] == gone
        if pod == "xy":  # nothing is kept of these but the ledger, which is written every second by itself
            assert taken[pod] == 0 < line["received"]
        else:
            assert line["received"] >= acknowledged[pod] > 0  # and what was killed before its sender had the answer
            assert taken[pod] >= acknowledged[pod]
            assert taken[pod] >= line["delivered"]  # and what was killed before the delivery was noted
    left = report(kept(str(tmp_path / "state")))
    assert (left.totals[0].received, left.totals[0].delivered) == (total["received"], total["delivered"])
