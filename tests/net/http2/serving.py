"""Our server in a thread of its own, for clients that are not for our loop."""

import asyncio
import contextlib
import threading

from hawse.net.budget import Budget
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig


@contextlib.contextmanager
def serving(routes, *, budget=None, **settings):
    started, done, box = threading.Event(), None, {"refused": []}

    async def run():
        nonlocal done
        done = asyncio.Event()
        box["budget"] = budget or Budget()
        servers = HttpServers(box["budget"], refused=box["refused"].append)
        config = ServerConfig(endpoint="127.0.0.1:0", **settings)
        box["port"] = await servers.mount(config, routes, owner="test")
        box["loop"], box["servers"] = asyncio.get_running_loop(), servers
        started.set()
        await done.wait()
        await servers.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield box
    finally:
        box["loop"].call_soon_threadsafe(done.set)
        thread.join(20)
        assert not thread.is_alive()


def inside(box, coroutine):
    """Run a coroutine in the server's loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, box["loop"]).result(10)
