"""Targets that mean harm, each beside a good one: theirs is down with the reason, the other is untouched, and memory
stays within bounds.
"""

import asyncio
import gzip
import time
import tracemalloc

import pytest

from hawse.codecs.exposition import Exposition
from hawse.net.budget import Budget
from tests.receivers.prometheus.rig import Context, loop_of, running, scraping, targets

MIB = 1 << 20


async def endless(reader, writer, head):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    line = b"".join(b'series_%d{a="b"} 1\n' % number for number in range(4000))
    while True:
        writer.write(line)
        await writer.drain()


async def endless_chunks(reader, writer, head):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n" * 5000)
        await writer.drain()


async def silent(reader, writer, head):
    await asyncio.sleep(60)


async def dripping(reader, writer, head):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.01)


async def dripping_head(reader, writer, head):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


def zipped(body):
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


BOMB = zipped(gzip.compress(bytes(300 * MIB), 9))
COMMENT_BOMB = zipped(gzip.compress((b"#" + b" " * 65_535 + b"\n") * 480, 9))  # within the limit of the body
ROUND = b"HTTP/1.1 302 Found\r\nlocation: /metrics\r\ncontent-length: 0\r\n\r\n"
EXPLOSION = "".join(f'a{{id="{number}"}} 1\n' for number in range(30_000))


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (endless, "body_size_limit", "over 33554432 bytes"),
        (endless_chunks, "malformed", "chunks of fewer than 4 bytes"),
        (silent, "timeout", "no whole answer within"),
        (dripping, "timeout", "no whole answer within"),
        (dripping_head, "connection|timeout", "256 header fields|no whole answer"),
        (BOMB, "body_size_limit", "over 33554432 bytes"),
        (ROUND, "redirect", "more than 10 times"),
        (EXPLOSION, "sample_limit", "sample_limit"),
        ("a" * 200_000, "malformed", "line 1"),
    ],
    ids=["endless", "chunks", "silent", "drip", "drip head", "bomb", "round", "explosion", "one line"],
)
def test_the_other_target_is_untouched(answer, code, says):
    seconds = "300ms" if "timeout" in code else "1s"

    async def run():
        async with targets(2) as (bad, good):
            bad.answer, good.answer = answer, "good 1\n"
            config = scraping(
                bad.address, good.address, interval="1s", timeout=seconds, body_size_limit="32MB", sample_limit=1000
            )
            async with running(config) as receiver:
                sink = receiver.sink
                await all_at_once(receiver)
                await sink.until(lambda: sink.of("up", instance=bad.address) and sink.of("good"), 20)
                loop = loop_of(receiver, bad.address)
                return (
                    sink.of("up", instance=bad.address),
                    sink.of("good"),
                    loop.last_error,
                    [key[1] for key in receiver.context.meter.sums if key[0] == "hawse_scrapes_failed"],
                    receiver,
                )

    tracemalloc.start()
    try:
        up, good, error, codes, receiver = asyncio.run(run())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(up) == {0} and set(good) == {1}
    assert codes[0] in code.split("|")
    assert any(part in error for part in says.split("|"))
    assert peak < 150 * MIB
    assert receiver.manager._memory.budget.used == 0


def test_what_fits_the_limits_is_read_while_others_get_their_turn():
    """30 MiB of nothing and 30,000 series that nobody limits: slow, but not at others' expense."""

    async def run():
        async with targets(3) as (one, two, good):
            one.answer, two.answer, good.answer = COMMENT_BOMB, EXPLOSION, "good 1\n"
            async with running(scraping(one.address, two.address, good.address, interval="30s")) as receiver:
                receiver.sink.consume = count = Count()
                await all_at_once(receiver)
                worst, last = 0.0, time.perf_counter()
                async with asyncio.timeout(60):
                    while count.taken < 3:
                        await asyncio.sleep(0)
                        now = time.perf_counter()
                        worst, last = max(worst, now - last), now
                return worst, {loop.health for loop in receiver.manager.loops()}

    worst, health = asyncio.run(run())
    assert health == {"up"}
    assert worst < 2.0  # machines that run tests are noisy: 0.3 on a quiet one


class Count:
    """Takes batches without looking into them."""

    taken = 0

    async def __call__(self, batch):
        self.taken += 1


async def all_at_once(receiver):
    """Scrape every target now, and not again."""
    await receiver.sink.until(lambda: receiver.manager.loops())
    for loop in receiver.manager.loops():
        loop.pause()
        loop._tick()
        loop.pause()


def test_malformed_at_any_byte():
    """A good body cut off or with a byte changed, anywhere: it is read or refused, never more."""
    body = b'# TYPE a_total counter\n# HELP a_total x\na_total{b="c\\"d",e="f"} 1.5e3 1700000000000\nh_bucket{le="+Inf"} 1\n'

    async def run():
        async with targets() as (target,):
            async with running(scraping(target.address, interval="20s")) as receiver:
                await receiver.sink.until(lambda: receiver.manager.loops())
                (loop,) = receiver.manager.loops()
                found = []
                for at in range(len(body)):
                    for made in (body[:at], body[:at] + b"\x00" + body[at + 1 :], body[:at] + b'"' + body[at:]):
                        target.answer = (
                            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(made)
                        ) + made
                        before = len(receiver.sink.scrapes)
                        loop.pause()
                        loop._tick()
                        while len(receiver.sink.scrapes) == before or loop.busy:
                            await asyncio.sleep(0)
                        found.append((loop.health, loop.last_error, receiver.sink.of("up")[-1]))
                return found

    found = asyncio.run(run())
    assert {(health, up) for health, _, up in found} == {("up", 1), ("down", 0)}
    assert all(bool(error) == (health == "down") for health, error, _ in found)
    assert all("bug" not in error for _, error, _ in found)
    assert all("line " in error for _, error, _ in found if error)


def test_many_large_bodies_at_once_stay_within_the_budget(monkeypatch):
    """Forty targets with 3 MiB each, and 20 MiB for all: they wait for each other."""
    peak = 0

    async def run():
        nonlocal peak
        async with targets(40) as made:
            for one in made:
                one.answer = ("# " + "x" * 65_533 + "\n") * 48 + "fine 1\n"
            context = scraping(*(one.address for one in made), interval="60s")
            budget = Budget(104 * MIB)
            assert budget.limit == 20 * MIB
            monkeypatch.setattr(Context, "shared", lambda self, kind: budget if kind is Budget else self._made(kind))
            async with running(context) as receiver:
                await all_at_once(receiver)
                async with asyncio.timeout(60):
                    while len(receiver.sink.scrapes) < 40:
                        peak = max(peak, budget.used)
                        await asyncio.sleep(0)
                up = receiver.sink.of("up")
                errors = {loop.last_error for loop in receiver.manager.loops()}
        assert budget.used == 0
        return up, errors

    up, errors = asyncio.run(run())
    assert 10 * MIB < peak <= 27 * MIB  # the budget and one body, which is given room by doubling
    assert (set(up), errors) == ({1}, {""})


def test_series_beyond_the_memory_for_them(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.memory._SHARE", 0.001)

    async def run():
        async with targets(2) as (bad, good):
            bad.answer, good.answer = EXPLOSION, "good 1\n"
            async with running(scraping(bad.address, good.address, interval="1s")) as receiver:
                sink = receiver.sink
                await sink.until(lambda: sink.of("up", instance=bad.address) and len(sink.of("good")) > 1, 20)
                return loop_of(receiver, bad.address).last_error, sink.of("good")

    error, good = asyncio.run(run())
    assert "its series would take about" in error and "set a sample_limit" in error
    assert set(good) == {1}


def test_small_bodies_do_not_wait_for_a_large_one(monkeypatch):
    """While 30,000 new series are read, others are scraped all the same."""
    count, during, reading = Count(), [], Exposition.read

    async def watched(exposition, body, *arguments):
        before = count.taken
        try:
            return await reading(exposition, body, *arguments)
        finally:
            if len(body) > MIB:
                during.append(count.taken - before)

    monkeypatch.setattr(Exposition, "read", watched)

    async def run():
        async with targets(2) as (large, small):
            large.answer = ("# " + "x" * 65_534 + "\n") * 16 + EXPLOSION
            config = scraping(large.address, small.address, interval="200ms", timeout="200ms")
            async with running(config) as receiver:
                receiver.sink.consume = count
                await receiver.sink.until(lambda: receiver.manager.loops())
                little = loop_of(receiver, small.address)
                async with asyncio.timeout(30):
                    while not during:
                        await asyncio.sleep(0.05)
                return during[0], little.health

    during, health = asyncio.run(run())
    assert during >= 1
    assert health == "up"
