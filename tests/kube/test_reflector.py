"""List and watch against the demo API server over real sockets, with everything going wrong that can."""

import asyncio
import logging
import time

import pytest

from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.kube import access, reflector
from hawse.kube.access import Auth
from hawse.kube.client import KubeClient
from hawse.kube.errors import Call
from hawse.kube.metadata import PodStore
from hawse.kube.objects import PodObject
from hawse.kube.reflector import Reflector
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig

PODS = Call("", "v1", "pods")


async def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


class Reflected:
    """A store that is kept up to date for the length of a block."""

    def __init__(self, api, tmp_path, call=PODS, **user):
        file = api.kubeconfig(tmp_path / "config", **user)
        self.client = KubeClient(access.of(Auth("kubeConfig", "", str(file))))
        self.store = PodStore()
        self.reflector = Reflector(self.client, call, PodObject, self.store)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.reflector.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.close()

    @property
    def names(self):
        return sorted(pod.name for pod in self.store._pods.values())

    async def has(self, *names, seconds=5.0):
        await until(lambda: self.names == sorted(names), seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(reflector, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(reflector, "_STEADY", 0.05)


def test_lists_in_pages_and_then_only_watches(tmp_path, monkeypatch):
    monkeypatch.setattr(reflector, "PAGE", 10)

    async def run():
        async with DemoApi() as api:
            for number in range(35):
                api.put(objects.pod("shop", f"p{number}"))
            async with Reflected(api, tmp_path) as seen:
                await seen.reflector.synced.wait()
                assert len(seen.store) == 35
                api.put(objects.pod("shop", "new"))
                await until(lambda: "new" in seen.names)
                api.delete("shop", "p7")
                await until(lambda: "p7" not in seen.names)
                api.put(objects.pod("shop", "p8", node="node-9"))
                await until(lambda: seen.store.by_name.get("shop/p8").node == "node-9")
            assert api.requests == ["list pods"] * 4 + ["watch pods"]

    asyncio.run(run())


def test_an_empty_cluster_is_synced_too(tmp_path):
    async def run():
        async with DemoApi() as api, Reflected(api, tmp_path) as seen:
            await asyncio.wait_for(seen.reflector.synced.wait(), 5)
            api.put(objects.pod("shop", "first"))
            await seen.has("first")

    asyncio.run(run())


def test_a_watch_that_breaks_off_goes_on_where_it_was(tmp_path):
    async def run():
        async with DemoApi() as api, Reflected(api, tmp_path) as seen:
            await seen.reflector.synced.wait()
            for number in range(5):
                api.put(objects.pod("shop", f"p{number}"))
                api.cut_watches()
                api.put(objects.pod("shop", f"q{number}"))
                await until(lambda: f"q{number}" in seen.names)  # noqa: B023
            await seen.has(*(f"{letter}{number}" for letter in "pq" for number in range(5)))
            assert api.requests.count("list pods") == 1 and api.requests.count("watch pods") >= 5

    asyncio.run(run())


def test_bookmarks_move_the_place_to_go_on_from(tmp_path):
    async def run():
        async with DemoApi(history=5, bookmark_interval=0.05) as api:
            async with Reflected(api, tmp_path) as seen:
                await seen.reflector.synced.wait()
                for number in range(50):  # far more changes elsewhere than the server remembers
                    api.put(objects.namespace(f"n{number}"))
                    if number % 5 == 0:
                        await asyncio.sleep(0.07)
                version = str(api._version)
                await until(lambda: seen.reflector._version == version)
                api.cut_watches()
                api.put(objects.pod("shop", "late"))
                await seen.has("late")
            assert api.requests.count("list pods") == 1

    asyncio.run(run())


@pytest.mark.parametrize("as_event", [True, False])
def test_410_makes_it_list_anew_and_forget_what_is_gone(tmp_path, as_event):
    async def run():
        async with DemoApi() as api:
            api.put(objects.pod("shop", "stays"))
            api.put(objects.pod("shop", "goes"))
            async with Reflected(api, tmp_path) as seen:
                await seen.has("stays", "goes")
                port = api.port
                if as_event:
                    api.faults.gone_event = True
                    api.cut_watches()
                    api.delete("shop", "goes")
                else:
                    await api.stop()
                    api.delete("shop", "goes")
                    api.forget_history()
                    assert await api.start() == port
                await seen.has("stays")
                assert seen.reflector.lists == 2 and seen.store.by_name.get("shop/goes").deleted

    asyncio.run(run())


def test_410_in_the_middle_of_a_list_begins_again_with_larger_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(reflector, "PAGE", 10)

    async def run():
        async with DemoApi() as api:
            for number in range(30):
                api.put(objects.pod("shop", f"p{number}"))
            api.faults.gone_pages = 1
            async with Reflected(api, tmp_path) as seen:
                await seen.reflector.synced.wait()
                assert len(seen.store) == 30
            # 10 and refused; then pages of 20, which are two
            assert api.requests.count("list pods") == 4 and seen.reflector.lists == 2

    asyncio.run(run())


def test_an_api_server_that_is_away_at_the_start_and_later(tmp_path, caplog):
    async def run():
        api = DemoApi()
        port = await api.start()
        await api.stop()
        api.put(objects.pod("shop", "a"))
        async with Reflected(api, tmp_path) as seen:
            await until(lambda: "refused" in seen.reflector.error)
            assert not seen.reflector.synced.is_set()
            assert await api.start(port=port) == port
            await seen.has("a")
            await until(lambda: seen.reflector.error == "")
            await api.stop()
            api.put(objects.pod("shop", "b"))
            await until(lambda: seen.reflector.error != "")
            assert seen.names == ["a"]  # what is known stays known
            await api.start(port=port)
            await seen.has("a", "b")
            assert api.requests.count("list pods") == 1  # the outage in between cost no second list
        await api.stop()

    with caplog.at_level(logging.WARNING, "hawse.kube"):
        asyncio.run(run())
    refused = [record for record in caplog.messages if "refused" in record]
    assert len(refused) <= 4 and "is the API server up" in refused[0]  # not once per attempt


def test_server_errors_and_their_retry_after(tmp_path):
    async def run():
        async with DemoApi() as api:
            api.put(objects.pod("shop", "a"))
            api.faults.status, api.faults.retry_after = 503, "1"
            async with Reflected(api, tmp_path) as seen:
                await until(lambda: "503" in seen.reflector.error)
                await asyncio.sleep(0.4)
                assert len(api.requests) == 1  # it waits as long as it was told to
                api.faults.status = 0
                await seen.has("a")

    asyncio.run(run())


def test_a_missing_permission_is_told_once_with_the_rule_and_mends_itself(tmp_path, caplog):
    async def run():
        async with DemoApi(tokens={"t": "system:serviceaccount:obs:hawse"}) as api:
            api.faults.forbidden.add(("watch", "pods"))
            async with Reflected(api, tmp_path, token="t") as seen:
                await until(lambda: "403" in seen.reflector.error)
                await until(lambda: api.requests.count("watch pods") >= 3)
                assert api.requests.count("list pods") == 1  # a refused watch is no reason to list again
                api.faults.forbidden.clear()
                api.put(objects.pod("shop", "a"))
                await seen.has("a")

    with caplog.at_level(logging.WARNING, "hawse.kube"):
        asyncio.run(run())
    (message,) = [record for record in caplog.messages if "403" in record]
    assert 'resources: ["pods"], verbs: ["list", "watch"]' in message and "system:serviceaccount:obs:hawse" in message


def test_namespaces_and_selectors_are_left_to_the_server(tmp_path):
    async def run():
        async with DemoApi() as api:
            api.put(objects.pod("shop", "a", labels={"app": "x"}, node="n1"))
            api.put(objects.pod("shop", "b", labels={"app": "y"}, node="n1"))
            api.put(objects.pod("shop", "c", labels={"app": "x"}, node="n2"))
            api.put(objects.pod("other", "d", labels={"app": "x"}, node="n1"))
            call = Call("", "v1", "pods", "shop", "app=x", "spec.nodeName=n1")
            async with Reflected(api, tmp_path, call) as seen:
                await seen.has("a")
                api.put(objects.pod("shop", "b", labels={"app": "x"}, node="n1"))  # comes into view
                await seen.has("a", "b")
                api.put(objects.pod("shop", "a", labels={"app": "z"}, node="n1"))  # goes out of it
                await seen.has("b")

    asyncio.run(run())


def test_something_that_is_no_api_server(tmp_path):
    async def run():
        async def html(request):
            return Response(200, "<html>", content_type="text/html")

        servers, api = HttpServers(), DemoApi()
        settings = ServerConfig(endpoint="127.0.0.1:0")
        api.port = await servers.mount(settings, {("GET", "/*"): html}, owner="a web server")
        async with Reflected(api, tmp_path) as seen:
            await until(lambda: "not what the API server sends" in seen.reflector.error)
        await servers.close()

    asyncio.run(run())


def test_changes_at_random_with_cuts_end_in_the_same_state(tmp_path):
    import random

    rng = random.Random(7)

    async def run():
        async with DemoApi(history=200, bookmark_interval=0.05) as api, Reflected(api, tmp_path) as seen:
            there = set()
            for step in range(600):
                name = f"p{rng.randrange(60)}"
                if name in there and rng.random() < 0.4:
                    api.delete("shop", name)
                    there.discard(name)
                else:
                    api.put(objects.pod("shop", name, uid=f"{name}-{step}" if name not in there else _uid(api, name)))
                    there.add(name)
                if rng.random() < 0.02:
                    api.cut_watches()
                if rng.random() < 0.01:
                    api.forget_history()
                if step % 20 == 0:
                    await asyncio.sleep(0.01)
            await seen.has(*there, seconds=10)
            for name in there:
                assert seen.store.by_name.get(f"shop/{name}").uid == _uid(api, name)

    asyncio.run(run())


def _uid(api, name):
    return api.get("shop", name)["metadata"]["uid"]
