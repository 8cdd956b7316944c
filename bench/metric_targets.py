"""Targets to scrape, in one process of their own: `python -m bench.metric_targets OPTIONS` prints their URLs.

All bodies are made and compressed beforehand, so that serving costs next to nothing of the cores that are measured.
A target answers each request with the next of its bodies, and begins again after the last.
"""

import argparse
import asyncio
import json
import re
from functools import partial

from isal import igzip

from bench.exposition import TARGET, Exposition

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"
    b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
)


class _Target(asyncio.Protocol):
    """One connection. Whatever is asked is answered with the target's next body."""

    transport: asyncio.Transport

    def __init__(self, answers: list[bytes], turn: list[int]) -> None:
        self._answers = answers
        self._turn = turn  # shared by the connections of a target
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(1 << 22)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while b"\r\n\r\n" in self._seen:
            head, _, self._seen = self._seen.partition(b"\r\n\r\n")
            if not re.search(rb"\r\naccept-encoding:[^\r]*gzip", head, re.IGNORECASE):
                self.transport.write(b"HTTP/1.1 406 Not Acceptable\r\ncontent-length: 0\r\n\r\n")
                continue
            self.transport.write(self._answers[self._turn[0] % len(self._answers)])
            self._turn[0] += 1


def answers(target: int, bodies: list[str]) -> list[bytes]:
    """Whole answers of a target, head and compressed body."""
    found = []
    for body in bodies:
        packed = igzip.compress(body.replace(TARGET, f"{target:02d}").encode(), 1)
        found.append(_HEAD % len(packed) + packed)
    return found


async def serve(options: argparse.Namespace) -> None:
    exposition = Exposition(options.series, unchanged=options.unchanged)
    bodies = [exposition.body(scrape) for scrape in range(options.bodies)]
    loop, urls = asyncio.get_running_loop(), []
    for target in range(options.targets):
        server = await loop.create_server(partial(_Target, answers(target, bodies), [0]), "127.0.0.1", 0)
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics")
    size = sum(map(len, bodies)) / len(bodies)
    told = {"urls": urls, "series": exposition.series, "points": exposition.points, "line": size / exposition.series}
    del bodies
    print(json.dumps(told), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--series", type=int, default=20_000, help="of each")
    parser.add_argument("--unchanged", type=float, default=0.0, help="share of the points that never change")
    parser.add_argument("--bodies", type=int, default=64, help="of each, until they begin again")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
