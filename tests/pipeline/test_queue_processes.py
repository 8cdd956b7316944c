"""The queue over deaths of its process: what was acknowledged arrives, whatever the moment."""

import asyncio
import os
import random
import signal
import sys

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp, otlp_records
from hawse.component import Busy
from hawse.demo.supervise import free_port
from hawse.net.client import HttpClient
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, ServerConfig
from hawse.values import Duration
from hawse.wire import encode_value, field

CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters:
  otlphttp:
    endpoint: {backend}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
    sending_queue: {{storage: file_storage, queue_size: 100000}}
extensions: {{file_storage: {{directory: {state}}}}}
service:
  extensions: [file_storage]
  pipelines: {{logs: {{receivers: [otlp], exporters: [otlphttp]}}}}
"""


class World:
    """A backend that may be away, a sender that notes what was acknowledged, and the process between them."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.random = random.Random(seed)
        self.port = free_port(0, set())
        self.up = True
        self.arrived = []
        self.acknowledged = set()
        self.number = 0
        self.process = None

    async def backend(self, request):
        if not self.up:
            return Response(503)
        for group in otlp.decode(Signal.LOGS, request.body).groups:
            self.arrived += [record.body for record in otlp_records.log_records(group)]
        return Response(200)

    async def start(self):
        config = self.folder / "config.yaml"
        config.write_text(CONFIG.format(port=self.port, backend=self.url, state=self.folder / "state"))
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hawse", "run", "--config", str(config), "--no-watch", stdout=log, stderr=log
            )

    async def end(self, number):
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def send(self, client):
        """Send batches, one after the other, for as long as the task lives."""
        while True:
            self.number += 1
            bodies = [f"{self.number}-{n}" for n in range(20)]
            records = b"".join(field(2, field(5, encode_value(body + "-" + "x" * 200))) for body in bodies)
            batch = Batch(Signal.LOGS, [Group(Resource.of({"service.name": "s"}), (field(2, records),), 20)])
            try:
                answer = await client.request(
                    "POST", "/v1/logs", batch.encode(), {"content-type": "application/x-protobuf"}
                )
            except Busy:
                await asyncio.sleep(0.02)
                continue
            if answer.status == 200:
                self.acknowledged.update(bodies)
            else:
                await asyncio.sleep(0.02)

    async def run(self, deaths):
        servers = HttpServers()
        port = await servers.mount(
            ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/*"): self.backend}, owner="backend"
        )
        self.url = f"http://127.0.0.1:{port}"
        client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{self.port}", timeout=Duration(5)))
        await self.start()
        senders = [asyncio.create_task(self.send(client)) for _ in range(4)]
        try:
            await self.until(lambda: len(self.acknowledged) > 100)
            for death in range(deaths):
                self.up = death % 2 == 0
                before = len(self.acknowledged)
                await self.until(lambda before=before: len(self.acknowledged) > before + 100)
                await asyncio.sleep(self.random.random() * 0.3)
                assert await self.end(signal.SIGKILL) == -signal.SIGKILL
                await self.start()
            self.up = False
            before = len(self.acknowledged)
            await self.until(lambda: len(self.acknowledged) > before + 100)
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            assert await self.end(signal.SIGTERM) == 0  # what is queued stays, though the destination is away
            await self.start()
            self.up = True
            await self.until(lambda: self.acknowledged <= {body.rsplit("-", 1)[0] for body in self.arrived})
            assert await self.end(signal.SIGTERM) == 0
        finally:
            if self.process.returncode is None:
                await self.end(signal.SIGKILL)
            await client.close()
            await servers.close()

    async def until(self, true):
        async with asyncio.timeout(30):
            while not true():
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.02)


def test_what_was_acknowledged_arrives_whenever_the_process_dies(tmp_path):
    world = World(tmp_path, seed=7)
    asyncio.run(world.run(deaths=4))
    assert len(world.acknowledged) > 500
    twice = len(world.arrived) - len(set(world.arrived))
    assert twice <= 4 * 20 * 20  # a death may repeat what was under way: ten consumers, and deletions not yet written
    assert os.listdir(tmp_path / "state" / "queue-otlphttp") == []
    assert "Traceback" not in (tmp_path / "log").read_text()
