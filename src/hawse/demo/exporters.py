"""The demo's metrics endpoints: one for each container that has a port, on an address of its own, as pods have them.

All of 127.0.0.0/8 is this machine's, so a pod can be at 127.83.1.10 and its container at the port that its manifest
names: what discovers pods by the demo's API server finds them where it says.
"""

import random
import socket

from hawse.demo.meters import OPENMETRICS, TEXT
from hawse.demo.workload import Running
from hawse.net.http import Handler, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig

SCRAPE = "x-prometheus-scrape-timeout-seconds"  # the header that Prometheus and its like send
_PROBED = "127.{}.1.20"


def free_network(rng: random.Random) -> str:
    """The first two numbers of loopback addresses that no other demo uses now."""
    for number in rng.sample(range(16, 250), 20):
        with socket.socket() as probe:
            try:
                probe.bind((_PROBED.format(number), 8080))
            except OSError:
                continue
        return f"127.{number}"
    return "127.250"


class Exporters:
    """The endpoints of a node's containers."""

    def __init__(self) -> None:
        self._servers: list[HttpServers] = []

    async def start(self, running: list[Running]) -> None:
        """Listen, a socket for each container that has a port. Raises HawseError where one is taken."""
        for one in running:
            if one.container.port:
                settings = ServerConfig(endpoint=f"{one.pod.ip}:{one.container.port}")
                owner = f"{one.pod.name}/{one.container.name}"
                servers = HttpServers()  # one for each: they take a port for the whole machine's
                self._servers.append(servers)
                await servers.mount(settings, {("GET", one.container.path): _answers(one)}, owner=owner)

    async def stop(self) -> None:
        """Answer what has been asked, then close."""
        servers, self._servers = self._servers, []
        for one in servers:
            await one.close()


def _answers(running: Running) -> Handler:
    async def answer(request: Request) -> Response:
        openmetrics = running.container.openmetrics and "application/openmetrics-text" in request.headers.get(
            "accept", ""
        )
        body, samples = running.meters.render(openmetrics=openmetrics)
        if SCRAPE in request.headers:  # somebody who only looks is no scraper
            running.scraped(samples)
        return Response(200, body, content_type=OPENMETRICS if openmetrics else TEXT)

    return answer
