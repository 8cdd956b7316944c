"""Children of `hawse up`."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hawse.demo.supervise import Child, free_port

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


async def _until(condition, seconds=10):
    for _ in range(seconds * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited in vain")


def _child(tmp_path, code, name="worker"):
    return Child(name, [sys.executable, "-c", code], {"GREETING": "hello"}, tmp_path / f"{name}.log")


def _ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def test_a_child_gets_its_environment_and_lines_and_logs(tmp_path):
    async def run():
        child = _child(tmp_path, "import os; print(os.environ['GREETING'], input())")
        await child.start()
        child.tell("you")
        await _until(lambda: not child.running)
        return child

    child = asyncio.run(run())
    assert child.log.read_text() == "hello you\n"


def test_stop_asks_first_and_then_insists(tmp_path):
    async def run():
        polite, stubborn = _child(tmp_path, SLEEPER, "polite"), _child(tmp_path, STUBBORN, "stubborn")
        await polite.start()
        await stubborn.start()
        await _until(lambda: polite.tail() == stubborn.tail() == "    up")
        return await polite.stop(10), await stubborn.stop(0.2), polite.running, stubborn.running

    assert asyncio.run(run()) == (True, False, False, False)


def test_a_death_is_told_with_the_last_words(tmp_path):
    async def run():
        child = _child(tmp_path, "print('disk on fire'); raise SystemExit(3)")
        await child.start()
        await _until(lambda: not child.running)
        killed = _child(tmp_path, SLEEPER, "victim")
        await killed.start()
        os.kill(killed.pid, signal.SIGKILL)
        await _until(lambda: not killed.running)
        return str(child.died()), str(killed.died())

    died, killed = asyncio.run(run())
    assert "worker ended with 3" in died
    assert "disk on fire" in died
    assert "victim was killed by SIGKILL" in killed


def test_no_child_outlives_a_parent_that_was_killed(tmp_path):
    code = (
        "import asyncio, sys, pathlib\n"
        "from hawse.demo.supervise import Child\n"
        "async def main():\n"
        f"    child = Child('c', [sys.executable, '-c', {STUBBORN!r}], {{}}, pathlib.Path({str(tmp_path / 'c.log')!r}))\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        while not (tmp_path / "c.log").read_text():
            time.sleep(0.01)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while not _ended(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert _ended(pid)


def test_a_taken_port_is_replaced():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = set()
        assert free_port(port, taken) != port
    assert free_port(port, set()) == port
    assert free_port(port, {port}) != port
