"""Collectors that poll, join, leave and restart beside allocators that restart: who scrapes what, second by second.

The real assignment and the real membership run on a clock of the test's. A collector does what the `prometheus`
receiver does: it asks every INTERVAL seconds, scrapes what it was told last, and keeps that when it gets no answer.
"""

import random

import msgspec
import numpy as np
import pytest

from hawse.allocator.assign import NOBODY, assign, key_of
from hawse.allocator.collectors import CollectorPod, Pods
from tests.allocator.cluster import collector

GRACE, INTERVAL = 30, 15
BOUND = GRACE + INTERVAL + 2  # seconds: the grace period, the next question, and the rounding of both
TARGETS = [f"10.0.{n // 256}.{n % 256}:8080" for n in range(300)]
KEYS = np.array([key_of(one) for one in TARGETS], dtype=np.uint64)


class Clock:
    now = 1_795_000_000.0

    def __call__(self):
        return self.now


class Allocator:
    """One replica. It sees the pods as a watch tells them; after a restart it lists them, and knows nothing else."""

    def __init__(self, clock, strategy):
        self.clock = clock
        self.strategy = strategy
        self.pods = Pods(GRACE, lambda: None, clock)
        self.down = 0

    def restart(self, there, down):
        self.pods = Pods(GRACE, lambda: None, self.clock)
        self.down = down

    def see(self, event, pod):
        if self.down:
            return
        self.pods.put(pod) if event == "put" else self.pods.delete(pod)

    def tick(self, there):
        if self.down:
            self.down -= 1
            if not self.down:
                self.pods.begin()
                for pod in there.values():
                    self.pods.put(pod)
                self.pods.end()

    def answer(self, name):
        """A collector's targets; None for 503 or no answer."""
        if self.down:
            return None
        members = self.pods.members()
        owners = assign(self.strategy, KEYS, [""] * len(KEYS), members)
        return {TARGETS[row] for row, owner in enumerate(owners) if owner != NOBODY and members[owner].name == name}

    def whole(self):
        members = self.pods.members()
        return assign(self.strategy, KEYS, [""] * len(KEYS), members).tolist(), [one.name for one in members]


class Collector:
    """A pod and its process."""

    def __init__(self, name, phase):
        self.name = name
        self.phase = phase  # second of the interval at which it asks
        self.ready_in = 0
        self.up = True
        self.has = set()


class World:
    def __init__(self, seed, strategy, replicas):
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.allocators = [Allocator(self.clock, strategy) for _ in range(replicas)]
        self.collectors = {}
        self.pods = {}
        self.double, self.nobody = dict.fromkeys(TARGETS, 0), dict.fromkeys(TARGETS, 0)
        self.worst_double = self.worst_nobody = 0

    def put(self, name, *, ready):
        made = collector(name, ready=ready)
        made["status"]["startTime"] = made["status"]["conditions"][0]["lastTransitionTime"] = ""
        self.pods[name] = msgspec.convert(made, CollectorPod)
        for one in self.allocators:
            one.see("put", self.pods[name])

    def gone(self, name):
        pod = self.pods.pop(name)
        for one in self.allocators:
            one.see("delete", pod)

    # --- what happens

    def join(self, name):
        self.collectors[name] = made = Collector(name, self.rng.randrange(INTERVAL))
        made.ready_in = self.rng.randint(3, 8)
        self.put(name, ready=False)

    def leave(self, name):
        del self.collectors[name]
        self.gone(name)

    def restart(self, name, away):
        """The pod is deleted and made anew; it takes `away` seconds to be ready again."""
        one = self.collectors[name]
        one.has, one.up, one.ready_in = set(), False, away
        self.gone(name)

    # --- time

    def tick(self):
        self.clock.now += 1
        for one in self.collectors.values():
            if one.ready_in:
                one.ready_in -= 1
                if not one.ready_in:
                    one.up = True
                    self.put(one.name, ready=True)
                    self.ask(one)  # at once, as a receiver does when it starts
        for one in self.allocators:
            one.tick(self.pods)
        for one in self.collectors.values():
            if one.up and not one.ready_in and int(self.clock.now) % INTERVAL == one.phase:
                self.ask(one)
        self.look()

    def ask(self, one):
        answer = self.rng.choice(self.allocators).answer(one.name)
        if answer is not None:
            one.has = answer

    def look(self):
        scraped = dict.fromkeys(TARGETS, 0)
        for one in self.collectors.values():
            for target in one.has if one.up else ():
                scraped[target] += 1
        for target, count in scraped.items():
            self.double[target] = self.double[target] + 1 if count > 1 else 0
            self.nobody[target] = self.nobody[target] + 1 if count == 0 else 0
        self.worst_double = max(self.worst_double, max(self.double.values()))
        self.worst_nobody = max(self.worst_nobody, max(self.nobody.values()))


@pytest.mark.parametrize("strategy", ["consistent-hashing", "least-weighted"])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_target_is_scraped_by_one(strategy, replicas, seed):
    world = World(seed, strategy, replicas)
    for number in range(3):
        world.join(f"c-{number}")
    for _ in range(60):
        world.tick()
    world.double, world.nobody = dict.fromkeys(TARGETS, 0), dict.fromkeys(TARGETS, 0)
    world.worst_double = world.worst_nobody = 0
    number = 3
    for _ in range(12):
        what = world.rng.choice(["join", "leave", "restart", "allocator"])
        names = sorted(name for name, one in world.collectors.items() if one.up and not one.ready_in)
        if what == "join" and len(world.collectors) < 6:
            world.join(f"c-{number}")
            number += 1
        elif what == "leave" and len(names) > 2:
            world.leave(names[-1])
        elif what == "restart":
            world.restart(world.rng.choice(names), world.rng.randint(2, GRACE - 5))
        else:
            world.rng.choice(world.allocators).restart(world.pods, world.rng.randint(1, 10))
        for _ in range(world.rng.randint(BOUND, 2 * BOUND)):
            world.tick()
        assert all(one.whole() == world.allocators[0].whole() for one in world.allocators)  # replicas agree
        have = [one.has for one in world.collectors.values()]
        assert sum(map(len, have)) == len(TARGETS)
        assert set.union(*have) == set(TARGETS)
    # By two only while they ask one after the other; by none also for the grace that somebody who left might be back in.
    assert world.worst_double <= INTERVAL + 2
    assert world.worst_nobody <= BOUND


def test_a_restart_within_the_grace_period_moves_nothing():
    world = World(1, "consistent-hashing", 1)
    for number in range(3):
        world.join(f"c-{number}")
    for _ in range(60):
        world.tick()
    before = {name: set(one.has) for name, one in world.collectors.items()}
    world.restart("c-1", 20)
    for _ in range(60):
        world.tick()
        assert all(one.has == before[name] for name, one in world.collectors.items() if name != "c-1")
    assert world.collectors["c-1"].has == before["c-1"]


def test_an_allocator_that_restarts_moves_nothing():
    world = World(2, "least-weighted", 1)
    for number in range(4):
        world.join(f"c-{number}")
    for _ in range(60):
        world.tick()
    before = {name: set(one.has) for name, one in world.collectors.items()}
    world.allocators[0].restart(world.pods, 20)
    for _ in range(60):
        world.tick()
        assert {name: one.has for name, one in world.collectors.items()} == before
