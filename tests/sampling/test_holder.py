"""What is held is answered for: by whom, when, and that no span is without an outcome."""

import asyncio

import pytest

from hawse.component import Busy, Refused
from hawse.net.budget import Budget
from hawse.processors.tail_sampling import TailSampling
from hawse.processors.tail_sampling.config import Config
from tests.sampling.traces import Bench, a_span, attributes_of, batch, findings, trace_id

SLOW = "policies: [{name: slow, type: latency, latency: {threshold_ms: 1000}}]"


def sampler(acknowledge, more="", policies=SLOW):
    return Bench(TailSampling, f"{{acknowledge: {acknowledge}, decision_wait: 5s, {more} {policies}}}", Config)


async def pending(bench, *batches):
    tasks = [asyncio.ensure_future(bench.sampler.consume(one)) for one in batches]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_calls_end_when_all_their_traces_are_decided_and_taken():
    async def body():
        bench = sampler("decided")
        (call,) = await pending(bench, batch(a_span(1, ms=2000), a_span(2)))
        await bench.decide(after=4)
        assert not call.done()
        assert not bench.sink.batches
        await bench.decide(after=2)
        await call
        assert [one.trace_id for one in bench.kept] == [trace_id(1)]
        assert bench.context.rules == {"not_sampled": 1}
        bench.even(received=2)

    asyncio.run(body())


def test_spans_of_a_trace_that_come_with_many_requests_are_decided_together():
    async def body():
        bench = sampler("decided")
        first = await pending(bench, batch(a_span(1, ms=600)), batch(a_span(2, ms=600)))
        bench.clock.now += 3
        second = await pending(bench, batch(a_span(1, 2, start=900, ms=600), a_span(1, 3), service="other"))
        await bench.decide(after=3)
        await asyncio.gather(*first, *second)
        assert sorted(one.span_id[-1] for one in bench.kept) == [1, 2, 3]
        assert {one.trace_id for one in bench.kept} == {trace_id(1)}
        bench.even(received=4)

    asyncio.run(body())


def test_who_gives_up_waiting_takes_its_spans_away_and_nothing_is_counted_twice():
    async def body():
        bench = sampler("decided")
        one, other = await pending(bench, batch(a_span(1, ms=2000)), batch(a_span(1, 2), a_span(2)))
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        (again,) = await pending(bench, batch(a_span(1, ms=2000)))
        await bench.decide()
        await asyncio.gather(other, again)
        assert sorted(one.span_id[-1] for one in bench.kept) == [1, 2]
        bench.even(received=3)

    asyncio.run(body())


def test_who_waits_less_than_the_decision_takes_gets_an_answer_when_it_comes_again():
    async def body():
        bench = sampler("decided")
        for _ in range(2):  # three times two seconds: the wait is five
            (call,) = await pending(bench, batch(a_span(1, ms=2000)))
            await bench.decide(after=2)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        (call,) = await pending(bench, batch(a_span(1, ms=2000)))
        await bench.decide(after=2)
        await call
        assert len(bench.kept) == 1
        bench.even(received=1)

    asyncio.run(body())


def test_what_does_not_come_again_is_forgotten():
    async def body():
        bench = sampler("decided")
        (call,) = await pending(bench, batch(a_span(1, ms=2000)))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await bench.decide(after=6)
        assert bench.context.known["hawse_processor_held_traces"]() == 1
        await bench.decide(after=6)
        bench.even(received=0)
        (call,) = await pending(bench, batch(a_span(2, ms=2000)))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await bench.sampler.stop()
        bench.even(received=0)

    asyncio.run(body())


def test_a_busy_backend_hands_the_batch_back_and_the_decision_stands():
    async def body():
        bench = sampler("decided")
        bench.sink.raises = [Busy("full", 3)]
        (call,) = await pending(bench, batch(a_span(1, ms=2000)))
        await bench.decide()
        with pytest.raises(Busy, match="full"):
            await call
        assert bench.context.shared(Budget).used == 0
        (again,) = await pending(bench, batch(a_span(1, ms=2000)))  # comes late: the decision is known
        await again
        assert len(bench.kept) == 1
        bench.even(received=1)

    asyncio.run(body())


def test_what_is_refused_as_a_whole_is_refused_and_in_part_is_taken():
    async def body():
        bench = sampler("decided")
        bench.sink.raises = [Refused("no", "http_400")]
        (call,) = await pending(bench, batch(a_span(1, ms=2000)))
        await bench.decide()
        with pytest.raises(Refused):
            await call
        bench.sink.raises = [Refused("no", "http_400")]
        (call,) = await pending(bench, batch(a_span(3, ms=2000), a_span(4)))
        await bench.decide()
        await call
        assert bench.context.rules == {"not_sampled": 1}

    asyncio.run(body())


def test_received_is_answered_at_once_and_delivered_when_somebody_takes_it():
    async def body():
        bench = sampler("received")
        await bench.sampler.consume(batch(a_span(1, ms=2000), a_span(2)))
        bench.sink.raises = [Busy("full", 0.01)] * 3
        await bench.decide()
        while not bench.sink.batches:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        assert len(bench.kept) == 1
        bench.even(received=2)

    asyncio.run(body())


def test_late_spans_follow_the_decision():
    async def body():
        bench = sampler("decided")
        calls = await pending(bench, batch(a_span(1, ms=2000), a_span(2)))
        await bench.decide()
        await asyncio.gather(*calls)
        await bench.sampler.consume(batch(a_span(1, 5), a_span(2, 6)))
        assert [one.span_id[-1] for one in bench.kept] == [1, 5]
        late = attributes_of(bench.kept[1])
        assert late["tailsampling.cached_decision"] is True
        assert late["sampling.rule"] == "slow"
        assert "tailsampling.cached_decision" not in attributes_of(bench.kept[0])
        assert bench.context.rules == {"not_sampled": 2}
        assert bench.context.counted["hawse_processor_late_spans"] == 2
        bench.even(received=4)

    asyncio.run(body())


@pytest.mark.parametrize("bound", ["num_traces: 10,", "num_bytes: 5KB,"])
def test_above_its_bounds_the_oldest_are_decided_early_and_counted(bound):
    async def body():
        bench = sampler("decided", bound)
        calls = []
        for number in range(20):
            calls += await pending(bench, batch(a_span(number, ms=2000 if number < 3 else 1)))
            bench.clock.now += 0.01
        await bench.decide(after=0)
        held = bench.context.known["hawse_processor_held_traces"]()
        assert 5 <= held <= 10
        assert bench.context.counted["hawse_processor_early_decisions"] == 20 - held
        assert [call.done() for call in calls] == [True] * (20 - held) + [False] * held
        assert len(bench.kept) == 3
        await bench.decide()
        bench.even(received=20)

    asyncio.run(body())


def test_when_nothing_is_taken_behind_it_takes_no_more_than_its_bound():
    async def body():
        bench = sampler("received", "num_bytes: 20KB,", "policies: [{name: all, type: always_sample}]")
        bench.sink.raises = [Busy("full", 0.02)] * 50
        taken, refused = 0, 0
        for number in range(400):
            try:
                await bench.sampler.consume(batch(a_span(number, name="x" * 500)))
                taken += 1
            except Busy as answer:
                assert answer.retry_after
                refused += 1
            await bench.decide(after=0.5)
            assert bench.context.shared(Budget).used < 30_000
        assert refused
        while bench.context.known["hawse_processor_held_bytes"]():
            bench.sink.raises.clear()
            await bench.decide()
            await asyncio.sleep(0.01)
        bench.even(received=taken)

    asyncio.run(body())


def test_a_full_process_hands_batches_back_and_makes_room():
    async def body():
        bench = sampler("decided")
        budget = bench.context.shared(Budget)
        calls = await pending(bench, batch(a_span(1), a_span(2)))
        used = budget.used
        budget.charge(budget.limit)
        with pytest.raises(Busy):
            await bench.sampler.consume(batch(a_span(3)))
        assert budget.used == used + budget.limit
        budget.release(budget.limit)
        await bench.decide(after=0)  # the oldest, long before their time
        assert bench.context.counted["hawse_processor_early_decisions"] >= 1
        await bench.decide()
        await asyncio.gather(*calls)
        bench.even(received=2)

    asyncio.run(body())


def test_at_the_end_all_is_decided_with_what_has_come():
    async def body():
        bench = sampler("received")
        bench.sampler.holder.start()
        await bench.sampler.consume(batch(a_span(1, ms=2000), a_span(2)))
        await bench.sampler.stop()
        assert len(bench.kept) == 1
        bench.even(received=2)
        await asyncio.gather(*bench.context.tasks)

    asyncio.run(body())


def test_what_nobody_takes_until_the_end_is_counted_as_lost():
    async def body():
        bench = sampler("received")
        bench.sink.raises = [Busy("full", 1)] * 100
        await bench.sampler.consume(batch(a_span(1, ms=2000), a_span(2)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bench.sampler.stop()
        assert bench.context.losses == {"shutdown": 1}
        assert bench.context.rules == {"not_sampled": 1}

    asyncio.run(body())


def test_a_draining_process_does_not_wait_for_more():
    async def body():
        bench = sampler("decided")
        bench.sampler.holder.start()
        calls = await pending(bench, batch(a_span(1, ms=2000)))
        next(one for kind, one in bench.context.known.items() if getattr(kind, "__name__", "") == "Health").stopping()
        async with asyncio.timeout(2):
            await asyncio.gather(*calls)
        await bench.sampler.stop()
        await asyncio.gather(*bench.context.tasks)

    asyncio.run(body())


def test_malformed_batches_are_refused_and_malformed_spans_counted():
    async def body():
        bench = sampler("decided")
        whole = batch(a_span(1))
        cut = whole.with_groups([type(group)(group.resource, (group.scopes[0][:-3],), 1) for group in whole.groups])
        with pytest.raises(Refused, match="malformed"):
            await bench.sampler.consume(cut)
        inside = a_span(1) + b"\x7a\x05\x18"  # a status that ends too soon
        (call,) = await pending(bench, batch(inside, a_span(2, ms=2000)))
        await bench.decide()
        await call
        assert bench.context.refusals == {"malformed": 1}
        bench.even(received=2)

    asyncio.run(body())


def test_a_bug_behind_reaches_the_caller():
    async def body():
        bench = sampler("decided")
        bench.sink.raises = [ZeroDivisionError()]
        (call,) = await pending(bench, batch(a_span(1, ms=2000)))
        await bench.decide()
        with pytest.raises(ZeroDivisionError):
            await call

    asyncio.run(body())


def test_a_long_wait_must_be_chosen():
    (told,) = findings(f"{{{SLOW}}}", Config)
    assert told.startswith("sampler.acknowledge: decision_wait is 30s, but OTLP clients wait 10s")
    assert findings(f"{{decision_wait: 8s, {SLOW}}}", Config) == []
    assert findings(f"{{acknowledge: decided, {SLOW}}}", Config) == []
