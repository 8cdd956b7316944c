"""Everything that can fail around the roles, one thing at a time: what was written arrives, and the log says what was wrong.

`make test-faults` runs all of it, `make test` what is not marked `long`. SEED repeats a run.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time

import pytest

from .sickness import SteppedClock, disk
from .tiers import Tiers
from .writers import Load

SEED = int(os.environ.get("SEED") or random.randrange(10**6))
REFUSED = r"cannot connect to 127\.0\.0\.1:\d+: connection refused"
long = pytest.mark.long
both = pytest.mark.both

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def pipeline(tmp_path, *, queue=False, rate=600, **how):
    load = Load(tmp_path / "log", SEED, rate=rate)
    async with Tiers(tmp_path, load, queue=queue, **how) as tiers:
        yield tiers


async def finish(tiers, *, case="", settle=60.0):
    """The load ends, everything arrives and ends; then the account."""
    await tiers.settle(settle)
    await tiers.stop_all()
    return await account(tiers, case)


async def account(tiers, case=""):
    tally = await tiers.compare()
    name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
    told = {"case": case or name, "seed": SEED, "written": tally.written, "delivered": tally.delivered}
    told |= {"missing": tally.missing, "duplicates": tally.duplicates, "wrong": tally.wrong}
    print(json.dumps(told))
    assert tally.written > 300, told
    assert (tally.missing, tally.wrong) == (0, 0), (told, tally.examples)
    return tally


def said(tiers, name, pattern):
    text = tiers.said(name)
    assert re.search(pattern, text), f"{name} did not say {pattern!r}:\n{text[-3000:]}"
    assert "Traceback" not in text


async def bodies(tiers, seconds):
    """Let it go on for so long, and see that something was written meanwhile."""
    before = tiers.load.written
    await asyncio.sleep(seconds)
    assert tiers.load.written > before


# --- the backend ------------------------------------------------------------------------------------------------------

BACKEND = {
    "500": ({"status": 500}, r"exporter sumologic: .* answered 500"),
    "429": ({"status": 429, "retry_after": 1}, r"exporter sumologic: .* answered 429"),
    "429-all-kept": ({"status": 429, "retry_after": 1, "keep": True, "rate": 0.5}, r"answered 429"),
    "401": ({"status": 401}, r"exporter sumologic: .* answered 401.*"),
    "403": ({"status": 403}, r"exporter sumologic: .* answered 403"),
    "reset-head": ({"reset": "head"}, r"the connection ended before an answer"),
    "reset-body": ({"reset": "body"}, r"exporter sumologic: 127\.0\.0\.1:\d+: the connection ended"),
    "reset-body-kept": ({"reset": "body", "keep": True}, r"exporter sumologic: 127\.0\.0\.1:\d+: the connection ended"),
    "hang": ({"hang": True}, r"exporter sumologic: 127\.0\.0\.1:\d+ did not answer within 3s"),
    "503-now-and-then": ({"status": 503, "rate": 0.3, "keep": True}, r"answered 503"),
    "slow": ({"delay": 2.0}, r""),
}
FAST = {"reset-body-kept"}


def _each(cases, fast):
    return [pytest.param(name, marks=() if name in fast else long, id=name) for name in cases]


@both
@pytest.mark.parametrize("case", _each(BACKEND, FAST))
def test_a_backend_that_fails(tmp_path, queue, case):
    fault, message = BACKEND[case]

    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 0.5)
            await tiers.faults(fault, seed=SEED)
            await bodies(tiers, 4.0 if fault.get("hang") else 2.0)
            await tiers.faults()
            await bodies(tiers, 0.3)
            tally = await finish(tiers)
            said(tiers, "logs-enrichment", message)
            # In the moment in which the fault begins, an answer may be cut off whose records were taken.
            assert fault.get("keep") or fault.get("hang") or tally.duplicates * 20 <= tally.written

    asyncio.run(run())


@both
@long
@pytest.mark.parametrize("from_start", [True, False])
def test_a_backend_that_is_down(tmp_path, queue, from_start):
    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            if not from_start:
                await tiers.start("backend")
            await tiers.start("logs-enrichment")
            await tiers.start("logs-collector")
            tiers.begin_writing()
            await bodies(tiers, 1.0)
            if not from_start:
                await tiers.kill("backend")
            await bodies(tiers, 3.0)
            await tiers.start("backend")
            await finish(tiers)
            said(tiers, "logs-enrichment", f"exporter sumologic: {REFUSED}")

    asyncio.run(run())


# --- enrichment -------------------------------------------------------------------------------------------------------


@long
@pytest.mark.parametrize("from_start", [True, False])
def test_enrichment_that_is_down(tmp_path, from_start):
    async def run():
        async with pipeline(tmp_path) as tiers:
            await tiers.start("backend")
            if not from_start:
                await tiers.start("logs-enrichment")
            await tiers.start("logs-collector")
            tiers.begin_writing()
            await bodies(tiers, 0.7)
            if not from_start:
                await tiers.kill("logs-enrichment")
            await bodies(tiers, 2.5)
            await tiers.start("logs-enrichment")
            await finish(tiers)
            said(tiers, "logs-collector", f"exporter otlphttp: {REFUSED}")

    asyncio.run(run())


@long
def test_enrichment_that_accepts_but_never_answers(tmp_path):
    async def run():
        async with pipeline(tmp_path, settings={"logs-collector": {"exporters.otlphttp.timeout": "1s"}}) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 0.5)
            os.kill(tiers.children["logs-enrichment"].pid, signal.SIGSTOP)
            await bodies(tiers, 3.0)
            os.kill(tiers.children["logs-enrichment"].pid, signal.SIGCONT)
            await finish(tiers)
            said(tiers, "logs-collector", r"exporter otlphttp: 127\.0\.0\.1:\d+ did not answer within 1s")

    asyncio.run(run())


# --- the API server ---------------------------------------------------------------------------------------------------


async def _named(tiers):
    """How many records have what only the API server knows."""
    return await tiers.count(pod_labels_app="writer")


@long
def test_an_api_server_that_is_down_at_first(tmp_path, queue):
    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            await tiers.api.stop()
            await tiers.start_all()
            tiers.begin_writing()
            await tiers.until_said("logs-enrichment", "connection refused")
            await bodies(tiers, 1.0)
            await tiers.api.start()
            await tiers.until_said("logs-enrichment", "the API server answers again")
            await bodies(tiers, 1.0)
            await finish(tiers)
            said(tiers, "logs-enrichment", f"the API server cannot be reached: {REFUSED}")
            assert await _named(tiers)

    asyncio.run(run())


@long
def test_an_api_server_that_is_never_there(tmp_path, queue):
    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            await tiers.api.stop()
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 8.0)
            await finish(tiers)
            said(tiers, "logs-enrichment", REFUSED)
            assert await _named(tiers) == 0

    asyncio.run(run())


@long
def test_an_api_server_that_goes_away(tmp_path, queue):
    """What was known stays in use."""

    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 1.0)
            await tiers.api.stop()
            await bodies(tiers, 3.0)
            tally = await finish(tiers)
            said(tiers, "logs-enrichment", REFUSED)
            assert await _named(tiers) == tally.delivered

    asyncio.run(run())


@pytest.mark.parametrize("where", _each(["event", "watch", "page", "all"], set()))
def test_an_api_server_that_answers_410(tmp_path, where):
    async def run():
        async with pipeline(tmp_path) as tiers:
            if where == "page":
                tiers.api.faults.gone_pages = 2
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 0.5)
            if where == "event":
                tiers.api.faults.gone_event = True
                tiers.api.cut_watches()
            elif where == "watch":
                tiers.api.forget_history()
            elif where == "all":
                tiers.api.faults.status = 410
                tiers.api.cut_watches()
            await bodies(tiers, 2.0)
            tiers.api.faults.status = 0
            tally = await finish(tiers)
            if where != "page":  # so few pods are one page
                said(tiers, "logs-enrichment", r"too old resource version|listing anew|410")
            assert await _named(tiers) == tally.delivered

    asyncio.run(run())


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [True, pytest.param(False, marks=long)])
def test_a_full_disk_under_the_checkpoint(tmp_path, killed):
    """Reading goes on; a collector that is killed then delivers again what it could not note down."""

    async def run(state):
        async with pipeline(tmp_path) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 0.7)
            state.fill()
            await tiers.until_said("logs-collector", "cannot keep positions")
            before = await tiers.count()
            await bodies(tiers, 1.5)
            assert await tiers.count() > before
            if killed:
                await tiers.kill("logs-collector")
                state.empty()
                await tiers.start("logs-collector")
            else:
                state.empty()
            await bodies(tiers, 0.5)
            tally = await finish(tiers)
            said(tiers, "logs-collector", r"cannot keep positions: .*state\.db: .*full.*; going on")
            assert killed or not tally.duplicates

    with disk(tmp_path / "state" / "logs-collector") as state:
        asyncio.run(run(state))


async def _restarted(tiers, state, sick, well):
    """The collector ran, ends, and finds its folder sick when it starts again; then well."""
    await tiers.start_all()
    tiers.begin_writing()
    await bodies(tiers, 0.7)
    await tiers.kill("logs-collector")
    sick()
    await tiers.start("logs-collector", ready=False)
    await tiers.until_said("logs-collector", "cannot keep")
    await bodies(tiers, 1.5)
    said(tiers, "logs-collector", rf"cannot keep (state in {state.path}|positions: {state.path}/)")
    well()
    if not tiers.children["logs-collector"].running:
        await tiers.start("logs-collector")
    await bodies(tiers, 1.0)
    await finish(tiers)


@long
def test_a_disk_that_is_full_when_the_collector_starts(tmp_path):
    async def run(state):
        async with pipeline(tmp_path) as tiers:
            await _restarted(tiers, state, state.fill, state.empty)

    with disk(tmp_path / "state" / "logs-collector") as state:
        asyncio.run(run(state))


@long
def test_a_read_only_state_folder(tmp_path):
    """As ext4 does after an error. It says who may not write where, and ends: Kubernetes starts it again."""

    async def run(state):
        async with pipeline(tmp_path) as tiers:
            await _restarted(tiers, state, lambda: state.read_only(True), lambda: state.read_only(False))
            said(tiers, "logs-collector", r"let uid \d+ write there")

    with disk(tmp_path / "state" / "logs-collector") as state:
        asyncio.run(run(state))


def test_a_queue_whose_disk_is_full(tmp_path):
    """What enrichment's disk does not take stays with the collector."""

    async def run(state):
        async with pipeline(tmp_path, queue=True) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 0.7)
            await tiers.faults({"status": 503})
            state.fill()
            await tiers.until_said("logs-enrichment", "the sending queue cannot keep a batch")
            await bodies(tiers, 1.0)
            state.empty()
            await tiers.faults()
            await bodies(tiers, 1.0)
            await finish(tiers)
            said(tiers, "logs-enrichment", r"KiB left; free space there, or enlarge the volume")

    with disk(tmp_path / "state" / "logs-enrichment", "16m") as state:
        asyncio.run(run(state))


@long
def test_a_queue_in_a_read_only_folder(tmp_path):
    """What is in it stays there until it can be opened again; the collector waits."""

    async def run(state):
        async with pipeline(tmp_path, queue=True) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await tiers.faults({"status": 503})
            await bodies(tiers, 1.0)
            await tiers.kill("logs-enrichment")
            state.read_only(True)
            await tiers.start("logs-enrichment", ready=False)
            await tiers.until_said("logs-enrichment", f"cannot keep state in {state.path}")
            await bodies(tiers, 1.0)
            said(tiers, "logs-enrichment", r"let uid \d+ write there")
            state.read_only(False)
            await tiers.faults()
            if not tiers.children["logs-enrichment"].running:
                await tiers.start("logs-enrichment")
            await bodies(tiers, 0.5)
            await finish(tiers)
            said(tiers, "logs-enrichment", r"batches of the last run are in the queue")

    with disk(tmp_path / "state" / "logs-enrichment", "16m") as state:
        asyncio.run(run(state))


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [pytest.param("libfaketime", marks=long), "patched"])
@pytest.mark.parametrize("killed", [pytest.param(True, marks=long), False])
def test_a_clock_that_steps_back_an_hour(tmp_path, queue, way, killed):
    """For every process and for the files alike, in the middle of long lines, and while the collector is away."""
    clock = SteppedClock(tmp_path / "clock", patched=way == "patched")

    async def run():
        # Not the backend's: under libfaketime, a thread of it may oversleep its time-out.
        environment = {name: clock.environment for name in ("logs-enrichment", "logs-collector")}
        async with pipeline(tmp_path, queue=queue, environment=environment) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 1.5)
            if killed:
                await tiers.kill("logs-collector")
            clock.step(-3600)
            tiers.load.clock.step(-3600)
            await bodies(tiers, 4.0)
            if killed:
                await tiers.start("logs-collector")
            await bodies(tiers, 1.5)
            tally = await finish(tiers)
            assert killed or not tally.duplicates

    asyncio.run(run())


# --- the end ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("meanwhile", _each(["well", "slow", "down", "hang"], {"slow"}))
def test_sigterm_drains_or_keeps(tmp_path, queue, meanwhile):
    """Within the 30 s of grace that Kubernetes gives, whatever the backend does; what was not drained comes later."""

    async def run():
        async with pipeline(tmp_path, queue=queue) as tiers:
            await tiers.start_all()
            tiers.begin_writing()
            await bodies(tiers, 1.0)
            if meanwhile == "slow":
                await tiers.faults({"delay": 1.0})
            elif meanwhile == "hang":
                await tiers.faults({"hang": True})
            elif meanwhile == "down":
                await tiers.kill("backend")
            await bodies(tiers, 1.0)
            ends = await asyncio.gather(tiers.stop("logs-enrichment"), tiers.stop("logs-collector"))
            for code, seconds in ends:
                assert code == 0
                assert seconds < 30
            await bodies(tiers, 0.5)
            if meanwhile == "down":
                await tiers.start("backend")
            else:
                await tiers.faults()
            await tiers.start("logs-enrichment")
            await tiers.start("logs-collector")
            tally = await finish(tiers)
            for name in ("logs-enrichment", "logs-collector"):
                said(tiers, name, r"draining[\s\S]*(everything drained|not drained within)")
            assert meanwhile not in {"well", "down"} or not tally.duplicates

    asyncio.run(run())
