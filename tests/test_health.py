"""What counts as getting on, as waiting for others, and as stuck."""

import time

import pytest

from hawse import health
from hawse.health import Health, Progress, State


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1_700_000_000 + self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(health, "time", made)
    return made


def state(progress, after=300):
    return progress.judge(after)[0]


def test_nothing_to_do_is_fine_for_ever(clock):
    progress = Progress("processors.a")
    clock.now += 1e6
    assert progress.judge(300) == (State.OK, "")


def test_a_processor_that_keeps_what_it_was_given_is_stuck(clock):
    progress = Progress("processors.a")
    progress.inside, progress.moved = 2, clock.now
    clock.now += 299
    assert state(progress) is State.OK
    clock.now += 2
    assert progress.judge(300) == (State.STUCK, "2 batches were not handed on for 301s")


def test_one_that_waits_for_what_is_behind_it_is_not(clock):
    progress = Progress("processors.a")
    progress.inside, progress.beyond, progress.moved = 2, 1, clock.now
    clock.now += 1e5
    assert state(progress) is State.OK


def test_a_destination_that_is_down_is_waited_for(clock):
    progress = Progress("exporters.a")
    progress.inside = 1
    for _ in range(100):
        progress.attempt()
        clock.now += 29
        assert state(progress) in {State.OK, State.WAITING}
        progress.attempted("connection refused", 30)
        clock.now += 30
        assert progress.judge(300) == (State.WAITING, "connection refused")
    progress.attempt()
    progress.attempted()
    assert progress.judge(300) == (State.OK, "")


def test_a_long_rest_that_was_asked_for_is_no_idleness(clock):
    progress = Progress("exporters.a")
    progress.waiting = lambda: 7
    progress.attempt()
    progress.attempted("answered 429", 3600)
    clock.now += 3800
    assert state(progress) is State.WAITING
    clock.now += 200  # now it is late
    assert progress.judge(300) == (State.STUCK, "7 batches are in the queue, and none was tried for 400s")


def test_an_attempt_without_an_end_is_stuck(clock):
    progress = Progress("exporters.a")
    progress.inside = 1
    progress.attempt()
    clock.now += 301
    assert progress.judge(300)[1] == "an attempt got neither an answer nor an error for 301s"


def test_attempts_beside_it_that_end_are_progress(clock):
    progress = Progress("exporters.a")
    progress.attempt()
    for _ in range(10):
        progress.attempt()
        clock.now += 100
        progress.attempted()
        assert state(progress) is State.OK


def test_failure_is_forgotten_when_there_is_nothing_left_to_send(clock):
    progress = Progress("exporters.a")
    progress.attempt()
    progress.attempted("down", 1)
    assert progress.judge(300) == (State.OK, "")


def test_readiness_of_start_run_and_end():
    it = Health()
    it.starting("exporters.a")
    good, (one,) = it.readiness()
    assert (good, one.component, one.reason) == (False, "service", "exporters.a is being started")
    it.starting("")
    assert it.readiness() == (True, [])
    it.stopping()
    good, (one,) = it.readiness()
    assert (good, one.reason) == (False, "the process drains and ends")


def test_a_start_without_an_end_is_stuck(clock):
    it = Health()
    it.starting("receivers.a")
    clock.now += 10
    assert it.liveness(300)[0]
    clock.now += 300
    live, (one,) = it.liveness(300)
    assert not live
    assert (one.component, one.reason) == ("receivers.a", "it has been starting for 310s")
    it.stopping()
    assert it.liveness(300)[0]


def test_since_is_when_it_became_so(clock):
    it = Health()
    it.starting("")
    why = [""]
    it.check("exporters.a", lambda: why[0])
    began = clock.time()
    assert it.readiness()[1][0].since == began
    clock.now += 5
    assert it.readiness()[1][0].since == began
    why[0] = "full: 1"
    assert it.readiness()[1][0].since == began + 5
    clock.now += 5
    why[0] = "full: 2"  # another wording of the same
    good, (one,) = it.readiness()
    assert (good, one.since, one.reason) == (False, began + 5, "full: 2")
    it.liveness(300)  # asked in between, about something else
    assert it.readiness()[1][0].since == began + 5


def test_checks_of_one_component_are_told_together():
    it = Health()
    it.starting("")
    it.check("exporters.a", lambda: "full")
    it.check("exporters.a", lambda: "")
    it.check("exporters.a", lambda: 1 / 0)
    good, (one,) = it.readiness()
    assert not good
    assert one.reason == "full; whether it can take data is not known: ZeroDivisionError: division by zero"


def test_of_the_instances_of_a_processor_the_worst_counts(clock):
    it = Health()
    it.starting("")
    one, two = (it.progress(key, "processors.a") for key in ("processor:logs/a", "processor:traces/a"))
    assert it.progress("processor:logs/a", "processors.a") is one
    two.inside, two.moved = 1, clock.now
    clock.now += 400
    live, conditions = it.liveness(300)
    assert not live
    assert [(c.component, c.state) for c in conditions] == [("processors.a", State.STUCK)]


def test_real_time():
    progress = Progress("exporters.a")
    progress.attempt()
    time.sleep(0.02)
    assert state(progress, 0.01) is State.STUCK
    progress.attempted()
    assert state(progress, 0.01) is State.OK
