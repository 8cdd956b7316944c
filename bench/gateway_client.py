"""`python -m bench.gateway_client PROTOCOL SIGNAL PORT SPOOL REQUESTS`: a closed loop of clients, as a process.

Sends the requests of a spool (see `bench.sink`), in their order and over again, until so many have been taken; what is
answered with "busy" comes again. Prints how many are acknowledged, which is all or the exit code is 1.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from bench.sink import Body, bodies
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import Busy
from hawse.net.client import HttpClient
from hawse.net.grpc_client import Code, GrpcClient, GrpcClientConfig, GrpcError
from hawse.net.settings import ClientConfig

_AT_ONCE = 16  # requests under way, over 4 connections by gRPC
_BUSY = frozenset({429, 502, 503, 504})

Send: TypeAlias = Callable[[Body], Awaitable[None]]


def _grpc(signal: Signal, port: int) -> tuple[Send, Callable[[], Awaitable[None]]]:
    client = GrpcClient(GrpcClientConfig(endpoint=f"http://127.0.0.1:{port}", compression="none"))

    async def send(body: Body) -> None:
        try:
            await client.call(otlp.SERVICES[signal], body.data, encoding=body.encoding)
        except GrpcError as error:
            if error.code == Code.UNAVAILABLE:
                raise Busy(error.message) from None
            raise

    return send, client.close


def _http(signal: Signal, port: int) -> tuple[Send, Callable[[], Awaitable[None]]]:
    client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{port}", compression="none"))
    url = f"http://127.0.0.1:{port}{otlp.PATHS[signal]}"

    async def send(body: Body) -> None:
        headers = {"content-type": "application/x-protobuf"}
        if body.encoding:
            headers["content-encoding"] = body.encoding
        response = await client.request("POST", url, [body.data], headers)
        if response.status in _BUSY:
            raise Busy(f"{response.status}")
        if response.status != 200:
            raise RuntimeError(f"the role answered {response.status}")

    return send, client.close


async def run(protocol: str, signal: Signal, port: int, spool: Path, requests: int) -> int:
    """Send, and say how many were acknowledged."""
    send, close = (_grpc if protocol == "grpc" else _http)(signal, port)
    source = itertools.islice(itertools.cycle(list(bodies(spool))), requests)
    try:
        return sum(await asyncio.gather(*(_lane(source, send) for _ in range(_AT_ONCE))))
    finally:
        await close()


async def _lane(source: Iterator[Body], send: Send) -> int:
    done = 0
    for body in source:
        while True:
            try:
                await send(body)
                break
            except Busy:
                await asyncio.sleep(0.02)
        done += 1
    return done


if __name__ == "__main__":
    _, how, what, where, name, many = sys.argv
    taken = asyncio.run(run(how, Signal(what), int(where), Path(name), int(many)))
    print(taken, flush=True)
    sys.exit(taken != int(many))
