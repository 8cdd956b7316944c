"""Targets that come, go and come back; when each is scraped."""

import asyncio
import time

from hawse.prometheus.targets import TargetGroup
from hawse.receivers.prometheus.loop import Loop

from .rig import SELF, decoded, loop_of, running, scraping, targets


def published(receiver, *addresses, source="s", job="test"):
    group = TargetGroup(source, tuple({"__address__": address} for address in addresses))
    receiver.manager.pools[job].publisher("test")([group])


def without_targets(interval="100ms", **job):
    """A job whose targets the test publishes itself."""
    return scraping(interval=interval, timeout=interval, static_configs=[], **job)


def test_a_target_that_has_gone_is_marked_stale_two_intervals_later(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE_AT_FIRST", 0.0)

    async def run():
        async with targets(2) as (one, other):
            one.answer, other.answer = "a 1\n", "b 1\n"
            async with running(without_targets("200ms")) as receiver:
                sink = receiver.sink
                published(receiver, one.address, other.address)
                await sink.until(lambda: sink.of("a") and sink.of("b"))
                loop = loop_of(receiver, other.address)
                published(receiver, one.address)
                await asyncio.sleep(0.05)
                assert len(receiver.manager.pools["test"].loops) == 1
                asked = len(other.heads)
                gone = time.time()
                await sink.until(lambda: None in sink.of("b"))
                waited = time.time() - gone
                at = next(p.at for scrape in sink.scrapes for p in scrape if p.name == "b" and p.value is None) / 1000
                await sink.until(lambda: len(sink.scrapes) > 8)
                return sink, other.address, waited, at - loop.last_scrape, len(other.heads) - asked, receiver

    sink, address, waited, behind, asked, receiver = asyncio.run(run())
    assert asked == 0
    for name in ("b", *SELF):
        values = sink.of(name, instance=address)
        assert values.count(None) == 1 and values[-1] is None, name
    assert 0.22 <= waited <= 2  # the rest of this interval, the next one, and a tenth
    assert 0.15 < behind < 0.45  # timed when the next scrape would have been
    assert None not in sink.of("a")
    assert receiver.manager._memory.series == sum(loop.subject.nbytes for loop in receiver.manager.loops())


def test_a_target_that_comes_back_in_time_was_never_away(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE_AT_FIRST", 0.0)

    async def run():
        async with targets() as (target,):
            async with running(without_targets("200ms")) as receiver:
                sink = receiver.sink
                published(receiver, target.address)
                await sink.until(lambda: sink.of("a"))
                before = loop_of(receiver, target.address)
                published(receiver)
                await asyncio.sleep(0.1)
                published(receiver, target.address)
                await sink.until(lambda: len(sink.of("a")) >= 4)
                return sink, before is loop_of(receiver, target.address)

    sink, same = asyncio.run(run())
    assert same
    assert None not in sink.of("a")
    assert sink.of("scrape_series_added") == [1, *[0] * (len(sink.scrapes) - 1)]


def test_targets_that_stay_are_left_alone_and_each_is_scraped_once(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE_AT_FIRST", 0.0)

    async def run():
        async with targets(2) as (one, other):
            async with running(without_targets()) as receiver:
                sink = receiver.sink
                published(receiver, one.address)
                await sink.until(lambda: len(sink.scrapes) >= 2)
                loop = loop_of(receiver, one.address)
                published(receiver, one.address, other.address, one.address)  # one of them twice
                published(receiver, one.address, source="again")
                await sink.until(lambda: sink.of("up", instance=other.address))
                assert loop is loop_of(receiver, one.address)
                return len(receiver.manager.loops()), one.connections

    assert asyncio.run(run()) == (2, 1)


def test_more_targets_than_allowed_are_all_down(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE_AT_FIRST", 0.0)

    async def run():
        async with targets(3) as made:
            addresses = [one.address for one in made]
            async with running(without_targets(target_limit=2)) as receiver:
                sink = receiver.sink
                published(receiver, *addresses)
                await sink.until(lambda: len(sink.scrapes) >= 4)
                down = (
                    set(sink.of("up")),
                    sum(len(one.heads) for one in made),
                    loop_of(receiver, addresses[0]).last_error,
                )
                published(receiver, *addresses[:2])
                await sink.until(lambda: 1 in sink.of("up"))
                return down, receiver

    (up, asked, error), receiver = asyncio.run(run())
    assert (up, asked) == ({0}, 0)
    assert error == "target_limit: the job has 3 targets, 2 are allowed"
    assert receiver.context.meter.sums["prometheus_target_scrape_pool_exceeded_target_limit"] >= 3


def test_relabelling_drops_targets_and_says_why(caplog):
    async def run():
        async with targets() as (target,):
            rules = [
                {"source_labels": ["__address__"], "regex": ".*:2", "action": "drop"},
                {
                    "source_labels": ["__address__"],
                    "regex": "odd",
                    "target_label": "__scrape_interval__",
                    "replacement": "x",
                },
            ]
            async with running(scraping(target.address, "h:2", "odd", relabel_configs=rules)) as receiver:
                await receiver.sink.until(lambda: receiver.sink.scrapes)
                return [one.reason for one in receiver.manager.pools["test"].dropped()]

    dropped, wrong = sorted(asyncio.run(run()))
    assert dropped == "dropped by relabel_configs[0] (action drop)"
    assert "interval" in wrong and "interval" in caplog.text


# --- moments --------------------------------------------------------------------------------------------------------


class Timer:
    """The event loop as Loop sees it, with a clock of the test's."""

    def __init__(self, monkeypatch):
        self.now, self.wall, self.calls = 100.0, 1_000_000_000_000_000_000, []
        monkeypatch.setattr("hawse.receivers.prometheus.loop.asyncio.get_running_loop", lambda: self)
        monkeypatch.setattr("hawse.receivers.prometheus.loop.time.time_ns", lambda: self.wall)

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.calls.append((when, callback))
        return self

    def cancel(self):
        self.calls.pop()

    def pass_(self, seconds):
        self.now += seconds
        self.wall += round(seconds * 1e9)

    def fire(self, late=0.0):
        when, callback = self.calls.pop()
        self.pass_(when - self.now + late)
        callback()
        return when


class Spawned:
    def __init__(self):
        self.sums = {}
        self.at = []

    def spawn(self, coroutine, name):
        self.at.append(coroutine.cr_frame.f_locals["at"])
        coroutine.close()

    def add(self, amount, reason):
        self.sums[reason] = self.sums.get(reason, 0) + amount


def loop_for(monkeypatch, key=bytes(16), seed=0, interval=10.0):
    from types import SimpleNamespace

    spawned = Spawned()
    metrics = SimpleNamespace(missed=spawned)
    subject = SimpleNamespace(target=SimpleNamespace(interval=interval, key=key, url="u", labels={}))
    work = SimpleNamespace(seed=seed, spawn=spawned.spawn, metrics=metrics, memory=None, delivery=None)
    timer = Timer(monkeypatch)
    return Loop(subject, work), timer, spawned


def done(loop):
    loop._waits_for = ""


def test_scrapes_are_an_interval_apart_on_the_wall_clock(monkeypatch):
    loop, timer, spawned = loop_for(monkeypatch, key=(3_000_000_000).to_bytes(8, "little") + bytes(8))
    timer.wall += 1
    loop.start()
    for late in (0, 0.001, 0, 0.3, 0):
        timer.fire(late)
        done(loop)
    base = 1_000_000_000_000_000_000
    assert [at - base for at in spawned.at] == [
        3_000_000_000,
        13_000_000_000,  # a millisecond late is not late
        23_000_000_000,
        33_300_000_000,  # this is
        43_000_000_000,
    ]
    assert spawned.sums == {}


def test_another_process_has_other_moments(monkeypatch):
    offsets = set()
    for seed in range(50):
        loop, timer, _ = loop_for(monkeypatch, seed=seed * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
        loop.start()
        offsets.add(timer.fire())
    assert len(offsets) == 50


def test_targets_are_spread_over_the_interval(monkeypatch):
    import hashlib

    found = []
    for number in range(2000):
        loop, timer, _ = loop_for(monkeypatch, key=hashlib.blake2b(b"%d" % number, digest_size=16).digest())
        loop.start()
        found.append(timer.fire() - 100)
    tenths = [sum(number <= at < number + 1 for at in found) for number in range(10)]
    assert min(tenths) > 140 and max(tenths) < 260
    assert 0 <= min(found) and max(found) <= 10


def test_a_scrape_that_takes_longer_than_an_interval_is_not_overtaken(monkeypatch):
    loop, timer, spawned = loop_for(monkeypatch)
    loop.start()
    timer.fire()
    loop._waits_for = "downstream"
    timer.fire()
    timer.fire()
    done(loop)
    timer.fire()
    assert len(spawned.at) == 2
    assert spawned.sums == {"downstream": 2}


def test_moments_that_have_passed_are_counted_and_left_out(monkeypatch):
    loop, timer, spawned = loop_for(monkeypatch)
    loop.start()
    first = timer.fire()
    done(loop)
    timer.fire(late=34.9)  # the process was stopped
    done(loop)
    assert timer.calls[0][0] == first + 50
    assert spawned.sums == {"late": 3}


def test_the_wall_clock_is_set(monkeypatch):
    loop, timer, spawned = loop_for(monkeypatch)
    loop.start()
    timer.fire()
    done(loop)
    timer.wall -= 3600 * 10**9
    for _ in range(3):
        timer.fire()
        done(loop)
    steps = [b - a for a, b in zip(spawned.at, spawned.at[1:])]
    assert all(abs(step) < 3600 * 10**9 for step in steps[1:])
    assert abs(spawned.at[-1] - timer.wall) <= 2_000_000


def test_jobs_with_no_targets_yet_are_fine():
    async def run():
        async with running(without_targets()) as receiver:
            await asyncio.sleep(0.05)
            return receiver.sink.calls

    assert asyncio.run(run()) == 0


def test_nothing_to_scrape_is_an_error():
    (finding,) = decoded({})
    assert "nothing to scrape" in finding.message
