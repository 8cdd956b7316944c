"""Datagrams: what is received, what is dropped, and that both together are what was sent."""

import asyncio
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from hawse.diagnostics import HawseError
from hawse.net import udp
from hawse.net.budget import Budget
from hawse.net.udp import UdpConfig, UdpServer
from hawse.values import ByteSize


class Told:
    """What a server said was dropped."""

    def __init__(self):
        self.counts = Counter()
        self.datagrams = []

    def __call__(self, reason, count, datagram):
        self.counts[reason] += count
        if datagram is not None:
            self.datagrams.append(datagram)


@asynccontextmanager
async def serving(budget=None, endpoint="127.0.0.1:0", **settings):
    told = Told()
    server = UdpServer(UdpConfig(endpoint=endpoint, **settings), "test", budget or Budget(), told)
    await server.open("protocols.thrift_compact")
    try:
        yield server, told
    finally:
        server.close()


def send(port, *payloads, host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for payload in payloads:
            client.sendto(payload, (host, port))


async def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.005)


def test_what_is_sent_comes_with_its_peer_and_is_charged():
    async def run():
        budget = Budget()
        async with serving(budget) as (server, told):
            waiting = asyncio.create_task(server.take())
            await asyncio.sleep(0)
            send(server.port, b"one")
            taken = await asyncio.wait_for(waiting, 5)
            assert taken == [(b"one", "127.0.0.1")]
            send(server.port, b"", b"two", b"x" * 65_000)
            await until(lambda: server.waiting == 3)
            rest = await server.take()
            assert [one.data for one in rest] == [b"", b"two", b"x" * 65_000]
            assert budget.used > 65_000
            server.done(taken)
            server.done(rest)
            assert budget.used == 0
            assert not told.counts

    asyncio.run(run())


def test_all_interfaces_tell_plain_addresses():
    async def run():
        async with serving(endpoint=":0") as (server, _):
            send(server.port, b"four")
            assert await asyncio.wait_for(server.take(), 5) == [(b"four", "127.0.0.1")]

    asyncio.run(run())


def test_taken_are_so_many_or_so_many_bytes():
    async def run():
        async with serving() as (server, _):
            send(server.port, *[b"x" * 100] * 10)
            await until(lambda: server.waiting == 10)
            assert len(await server.take(3)) == 3
            assert len(await server.take(most_bytes=150)) == 2
            assert len(await server.take()) == 5

    asyncio.run(run())


def test_too_large_ones_are_dropped():
    async def run():
        async with serving(max_packet_size=ByteSize(100)) as (server, told):
            send(server.port, b"x" * 101, b"y" * 100)
            assert [one.data for one in await asyncio.wait_for(server.take(), 5)] == [b"y" * 100]
            assert told.counts == {udp.TOO_LARGE: 1}

    asyncio.run(run())


def test_a_full_queue_drops_what_comes():
    async def run():
        async with serving(queue_size=3) as (server, told):
            send(server.port, *[b"%d" % number for number in range(10)])
            await until(lambda: told.counts[udp.QUEUE_FULL] == 7)
            assert [one.data for one in told.datagrams] == [b"%d" % number for number in range(3, 10)]
            assert len(await server.take()) == 3
            send(server.port, b"again")
            assert [one.data for one in await asyncio.wait_for(server.take(), 5)] == [b"again"]

    asyncio.run(run())


def test_memory_that_is_used_up_drops_what_comes():
    async def run():
        budget = Budget()
        budget.charge(budget.limit)
        async with serving(budget) as (server, told):
            send(server.port, b"x")
            await until(lambda: told.counts == {udp.MEMORY: 1})
            budget.release(budget.limit)
            send(server.port, b"y")
            assert [one.data for one in await asyncio.wait_for(server.take(), 5)] == [b"y"]

    asyncio.run(run())


def test_what_the_system_drops_is_counted_to_the_last():
    async def run():
        told = Told()
        config = UdpConfig(endpoint="127.0.0.1:0", socket_buffer_size=ByteSize(20_000), queue_size=5000)
        server = UdpServer(config, "test", Budget(), told)
        await server.open("x")
        assert server.overruns_known
        assert server.buffer_size == 20_000
        send(server.port, *[b"x" * 1000] * 2000)  # while nobody reads
        server.close()
        assert server.waiting > 0
        assert told.counts[udp.SYSTEM] > 1000
        assert server.waiting + told.counts[udp.SYSTEM] == 2000
        assert len(await server.take(5000, 1 << 30)) + told.counts[udp.SYSTEM] == 2000
        assert await server.take() == []

    asyncio.run(run())


def test_a_flood_is_dropped_and_others_go_on():
    """While a client floods, other work of the event loop has its turn, and every datagram is accounted for."""
    sent = 0

    def flood(port, stop):
        nonlocal sent
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            while time.monotonic() < stop:
                client.send(b"x" * 200)
                sent += 1

    async def run():
        taken = late = 0
        async with serving(queue_size=100) as (server, told):
            flooding = asyncio.create_task(asyncio.to_thread(flood, server.port, time.monotonic() + 1))
            while not flooding.done():
                since = time.monotonic()
                await asyncio.sleep(0.01)
                late = max(late, time.monotonic() - since)
                server.done(batch := await asyncio.wait_for(server.take(10), 5))
                taken += len(batch)
            server.close()
            left = server.abandon()
            server.done(left)
            assert taken + len(left) + sum(told.counts.values()) == sent
            assert told.counts[udp.QUEUE_FULL] > 0
            assert taken > 10
        assert late < 0.5

    asyncio.run(run())


def test_closing_wakes_who_waits_and_abandons():
    async def run():
        budget = Budget()
        async with serving(budget) as (server, _):
            waiting = [asyncio.create_task(server.take()) for _ in range(3)]
            await asyncio.sleep(0)
            server.close()
            assert await asyncio.gather(*waiting) == [[], [], []]
        async with serving(budget) as (server, _):
            send(server.port, b"x", b"y")
            await until(lambda: server.waiting == 2)
            left = server.abandon()
            assert [one.data for one in left] == [b"x", b"y"]
            server.done(left)
        assert budget.used == 0

    asyncio.run(run())


def test_a_port_in_use_is_told():
    async def run():
        async with serving() as (server, _):
            with pytest.raises(HawseError, match=f"port {server.port} is in use.*ss -lntup"):
                async with serving(endpoint=f"127.0.0.1:{server.port}"):
                    pass

    asyncio.run(run())


def test_endpoints_are_checked():
    assert [one.path for one in UdpConfig(endpoint="nowhere").problems()] == ["endpoint"]
    assert not list(UdpConfig(endpoint="0.0.0.0:6831").problems())
