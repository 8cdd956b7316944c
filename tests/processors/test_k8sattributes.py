"""k8sattributes against the demo API server over real sockets: what is added, what waits, and for how long."""

import asyncio
import logging
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, NoLedger
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.diagnostics import HawseError
from hawse.kube import reflector
from hawse.kube.association import address
from hawse.kube.settings import Extract, FieldExtract, Filter, PodAssociation, Source
from hawse.kube.watches import Watches
from hawse.processors.k8sattributes import Config, Exclude, ExcludedPod, Hold, K8sAttributes
from hawse.values import ByteSize, Duration, Regex

NO_HOLD = Hold(timeout=Duration(0), first_timeout=Duration(0))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(reflector, "FIRST_PAUSE", 0.02)


class Meter:
    def __init__(self):
        self.counts, self.gauges = Counter(), {}

    def counter(self, name, description, unit="1"):
        meter = self

        class One:
            def add(self, amount, **attributes):
                meter.counts[(name, *attributes.values())] += amount

        return One()

    def gauge(self, name, description, read, **attributes):
        self.gauges[name] = read


class Context:
    def __init__(self, watches):
        self.meter, self._watches = Meter(), watches
        self.ledger = NoLedger()
        self.log = logging.getLogger("hawse.test")

    def shared(self, kind):
        assert kind is Watches
        return self._watches


class Sink:
    def __init__(self):
        self.batches, self.raises = [], None

    async def consume(self, batch):
        if self.raises:
            raise self.raises
        self.batches.append(batch)


class Running:
    """A processor between a demo API server and a sink."""

    def __init__(self, tmp_path, api, watches=None, **config):
        path = str(api.kubeconfig(tmp_path / "config", token=config.pop("token", "")))
        self.watches = watches or Watches()
        self.context, self.sink = Context(self.watches), Sink()
        self.config = Config(auth_type="kubeConfig", kube_config_path=path, **config)
        self.processor = K8sAttributes(self.config, self.context, self.sink)

    async def __aenter__(self):
        await self.processor.start()
        return self

    async def __aexit__(self, *exc):
        await self.processor.stop()
        await self.watches.close()

    async def synced(self):
        await asyncio.wait_for(self.processor._watch.wait_synced(), 5)

    async def send(self, *resources, peer="", signal=Signal.LOGS):
        """Consume a batch with a group for each; return their attributes afterwards."""
        groups = [Group(Resource(Resource.of(one).raw), (b"\x12\x02\x12\x00",), 1) for one in resources]
        await self.processor.consume(Batch(signal, groups, peer))
        return [dict(group.resource.attributes) for group in self.sink.batches[-1].groups]

    @property
    def counts(self):
        prefix = "processor_k8sattributes_"
        return {
            key[0].removeprefix(prefix): value for key, value in self.context.meter.counts.items() if prefix in key[0]
        }


def run(tmp_path, test, tokens=None, **config):
    async def main():
        async with DemoApi(tokens=tokens) as api, Running(tmp_path, api, **config) as it:
            await test(api, it)

    asyncio.run(main())


def extract(*metadata, **more):
    return Extract(metadata=metadata or ("k8s.node.name",), **more)


def found_by(*ways):
    sources = [
        [Source(from_="connection") if n == "connection" else Source(from_="resource_attribute", name=n) for n in way]
        for way in ways
    ]
    return tuple(PodAssociation(sources=tuple(one)) for one in sources)


# --- what is added


def test_the_resource_of_filelog_gets_everything_in_one_resource_message(tmp_path):
    async def test(api, it):
        owners = [objects.owner("ReplicaSet", "web-abc", "shop")]
        api.put(
            objects.pod("shop", "web-abc-x", uid="u1", owners=owners, labels={"pod-template-hash": "abc"}, restarts=1)
        )
        await it.synced()
        there = {
            "k8s.namespace.name": "shop",
            "k8s.pod.name": "web-abc-x",
            "k8s.pod.uid": "u1",
            "k8s.container.name": "app",
            "k8s.container.restart_count": "0",
            "log.iostream": "stdout",
        }
        (made,) = await it.send(there)
        assert made == {
            **there,
            "k8s.pod.start_time": "2026-11-20T10:00:07Z",
            "k8s.deployment.name": "web",
            "k8s.node.name": "node-1",
            "container.image.name": "registry.example.com/shop/app",
            "container.image.tag": "1.4.2",
        }
        raw = it.sink.batches[0].groups[0].resource.raw
        assert wire.decode_attributes(raw) == made  # the bytes say the same as the attributes
        assert it.sink.batches[0].groups[0].scopes == (b"\x12\x02\x12\x00",)
        assert it.counts == {"pod_association_success": 1}

    run(tmp_path, test)


def test_the_same_container_again_is_the_same_resource(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1"))
        await it.synced()
        for _ in range(3):
            await it.send({"k8s.pod.uid": "u1"})
        first, *others = [batch.groups[0].resource for batch in it.sink.batches]
        assert all(other is first for other in others)

    run(tmp_path, test)


def test_existing_values_stay_unless_they_are_empty(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1", node="n1"))
        await it.synced()
        (kept, filled) = await it.send(
            {"k8s.pod.uid": "u1", "k8s.node.name": "mine", "k8s.namespace.name": False},
            {"k8s.pod.uid": "u1", "k8s.node.name": ""},
        )
        assert kept["k8s.node.name"] == "mine" and kept["k8s.namespace.name"] is False
        assert filled["k8s.node.name"] == "n1"
        raw = it.sink.batches[0].groups[1].resource.raw
        assert raw.count(b"k8s.node.name") == 1

    run(tmp_path, test)


def test_resources_of_one_pod_that_have_different_attributes_already(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1", node="n1"))
        await it.synced()
        await it.send({"k8s.pod.uid": "u1"})
        (other,) = await it.send({"k8s.pod.uid": "u1", "k8s.node.name": "mine"})
        (bare,) = await it.send({"k8s.pod.name": "web", "k8s.namespace.name": "shop"})
        assert other["k8s.node.name"] == "mine" and bare["k8s.pod.uid"] == "u1" and bare["k8s.node.name"] == "n1"

    run(tmp_path, test)


def test_container_ids_follow_the_restart_count(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1", restarts=2, containers={"app": "a:1", "side": "b:2"}))
        await it.synced()
        base = {"k8s.pod.uid": "u1"}
        now, before, number, long_gone, other, unnamed = await it.send(
            {**base, "k8s.container.name": "app", "k8s.container.restart_count": "2"},
            {**base, "k8s.container.name": "app", "k8s.container.restart_count": "1"},
            {**base, "k8s.container.name": "app", "k8s.container.restart_count": 1},
            {**base, "k8s.container.name": "app", "k8s.container.restart_count": "0"},
            {**base, "container.id": objects.container_id("shop", "web", "side", "2")},
            base,
        )
        assert now["container.id"] == objects.container_id("shop", "web", "app", "2")
        assert before["container.id"] == number["container.id"] == objects.container_id("shop", "web", "app", "1")
        assert "container.id" not in long_gone and long_gone["container.image.name"] == "a"
        assert (other["k8s.container.name"], other["container.image.name"]) == ("side", "b")
        assert "container.image.name" not in unnamed

    run(tmp_path, test, extract=extract("container.id", "container.image.name", "k8s.container.name"))


def test_a_change_of_the_pod_shows_at_once(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1", labels={"v": "1"}))
        await it.synced()
        assert (await it.send({"k8s.pod.uid": "u1"}))[0]["k8s.pod.labels.v"] == "1"
        api.put(objects.pod("shop", "web", uid="u1", labels={"v": "2"}))
        while it.processor._watch.pods.by_uid.get("u1").labels != {"v": "2"}:
            await asyncio.sleep(0.005)
        assert (await it.send({"k8s.pod.uid": "u1"}))[0]["k8s.pod.labels.v"] == "2"

    run(tmp_path, test, extract=extract(labels=(FieldExtract(key="v"),)))


def test_labels_of_namespaces_also_for_telemetry_of_no_known_pod_and_when_they_change(tmp_path):
    async def test(api, it):
        api.put(objects.namespace("shop", {"team": "a"}))
        api.put(objects.pod("shop", "web", uid="u1"))
        await it.synced()
        unknown = {"k8s.pod.uid": "u9", "k8s.namespace.name": "shop"}
        known, other = await it.send({"k8s.pod.uid": "u1"}, unknown)
        assert known["team"] == other["team"] == "a"
        api.put(objects.namespace("shop", {"team": "b"}))
        while it.processor._watch.lookup("namespace", "shop").labels != {"team": "b"}:
            await asyncio.sleep(0.005)
        known, other = await it.send({"k8s.pod.uid": "u1"}, unknown)
        assert known["team"] == other["team"] == "b"
        assert sorted(set(api.requests)) == ["list namespaces", "list pods", "watch namespaces", "watch pods"]

    rule = FieldExtract(key="team", tag_name="team", from_="namespace")
    run(tmp_path, test, extract=extract(labels=(rule,)), hold=NO_HOLD)


def test_excluded_and_ignored_pods_pass_unchanged_without_waiting(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "my-proxy-1", uid="u1"))
        api.put(objects.pod("shop", "shy", uid="u2", annotations={"opentelemetry.io/k8s-processor/ignore": " True "}))
        await it.synced()
        began = time.monotonic()
        assert await it.send({"k8s.pod.uid": "u1"}, {"k8s.pod.uid": "u2"}) == [
            {"k8s.pod.uid": "u1"},
            {"k8s.pod.uid": "u2"},
        ]
        assert time.monotonic() - began < 1

    run(tmp_path, test, exclude=Exclude(pods=(ExcludedPod(name=Regex.parse("proxy")),)))


# --- association


def test_the_order_of_associations_and_that_the_first_complete_one_decides(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua", ips=("10.0.0.1", "fd00::1"), node="na"))
        api.put(objects.pod("shop", "b", uid="ub", ips=("10.0.0.2",), node="nb"))
        api.put(objects.pod("kube", "host", uid="uh", ips=("10.0.0.9",), node="nh", host_network=True))
        await it.synced()

        async def node(peer="", **attributes):
            (made,) = await it.send({key.replace("_", "."): value for key, value in attributes.items()}, peer=peer)
            return made.get("k8s.node.name")

        assert await node(k8s_pod_uid="ua", k8s_pod_ip="10.0.0.2") == "na"
        assert await node(k8s_pod_name="b", k8s_namespace_name="shop") == "nb"
        assert await node(k8s_pod_name="b") is None
        assert await node(k8s_pod_ip="fd00:0::1") == "na"
        assert await node(peer="10.0.0.2") == "nb"
        assert await node(peer="10.0.0.1") == "na"  # the same resource, another peer
        assert await node(peer="10.0.0.2") == "nb"
        assert await node(peer="10.0.0.9") is None
        # An unknown pod's telemetry comes over its collector's connection: it is not the collector's.
        assert await node(k8s_pod_uid="unknown", peer="10.0.0.2") is None

    run(tmp_path, test, extract=extract("k8s.node.name"), hold=NO_HOLD)


def test_association_by_container_id_labels_and_several_sources(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", node="na", labels={"app": "x"}, ips=("10.0.0.1",), restarts=1))
        api.put(objects.pod("shop", "b", node="nb", labels={"app": "x"}, ips=("10.0.0.2",)))
        await it.synced()
        old, new, by_label, none = await it.send(
            {"container.id": objects.container_id("shop", "a", "app", "0")},
            {"container.id": objects.container_id("shop", "b", "app", "0")},
            {"app": "x", "host.name": "10.0.0.2"},
            {"app": "y", "host.name": "10.0.0.2"},
        )
        assert [one.get("k8s.node.name") for one in (old, new, by_label, none)] == ["na", "nb", "nb", None]

    run(
        tmp_path,
        test,
        extract=extract("k8s.node.name", labels=(FieldExtract(key="app", tag_name="app"),)),
        pod_association=found_by(["container.id"], ["app", "host.name"]),
        hold=NO_HOLD,
    )


def test_an_address_used_again_is_the_new_pods(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua", ips=("10.0.0.1",), node="na", started="2026-01-01T00:00:00Z"))
        await it.synced()
        assert (await it.send({}, peer="10.0.0.1"))[0]["k8s.node.name"] == "na"
        api.put(objects.pod("shop", "b", uid="ub", ips=("10.0.0.1",), node="nb", started="2026-01-01T00:05:00Z"))
        while it.processor._watch.pods.by_uid.get("ub") is None:
            await asyncio.sleep(0.005)
        assert (await it.send({}, peer="10.0.0.1"))[0]["k8s.node.name"] == "nb"
        assert (await it.send({"k8s.pod.uid": "ua"}, peer="10.0.0.1"))[0]["k8s.node.name"] == "na"

    run(tmp_path, test, extract=extract("k8s.node.name"))


def test_passthrough_adds_the_peers_address_and_asks_nobody(tmp_path):
    async def test(api, it):
        (one, other) = await it.send({"a": "b"}, {"k8s.pod.ip": "10.0.0.7"}, peer="10.0.0.1")
        assert (one, other) == ({"a": "b", "k8s.pod.ip": "10.0.0.1"}, {"k8s.pod.ip": "10.0.0.7"})
        assert await it.send({"a": "b"}) == [{"a": "b"}]
        await asyncio.sleep(0.05)
        assert api.requests == []

    run(tmp_path, test, passthrough=True)


# --- waiting


def test_telemetry_of_a_pod_not_yet_known_waits_for_it(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua", node="na"))
        await it.synced()
        began = time.monotonic()
        sending = asyncio.create_task(it.send({"k8s.pod.uid": "ua"}, {"k8s.pod.uid": "late"}))
        await asyncio.sleep(0.1)
        assert (
            not sending.done()
            and not it.sink.batches
            and it.context.meter.gauges["processor_k8sattributes_held_bytes"]() > 0
        )
        api.put(objects.pod("shop", "late", uid="late", node="nl"))
        made = await sending
        assert [one["k8s.node.name"] for one in made] == ["na", "nl"] and len(it.sink.batches) == 1
        assert 0.1 <= time.monotonic() - began < 2
        assert it.context.meter.gauges["processor_k8sattributes_held_bytes"]() == 0
        assert it.counts == {"pod_association_success": 2}

    run(tmp_path, test, extract=extract("k8s.node.name"))


def test_a_pod_that_never_comes_is_waited_for_once_then_passed_on_and_counted(tmp_path):
    async def test(api, it):
        await it.synced()
        began = time.monotonic()
        assert await it.send({"k8s.pod.uid": "ghost"}) == [{"k8s.pod.uid": "ghost"}]
        assert 0.29 < time.monotonic() - began < 1
        began = time.monotonic()
        await it.send({"k8s.pod.uid": "ghost"})
        assert time.monotonic() - began < 0.2
        assert it.context.meter.counts["processor_k8sattributes_unenriched_items", "unknown_pod"] == 2
        api.put(objects.pod("shop", "ghost", uid="ghost", node="n"))  # it does come, after all
        while it.processor._watch.pods.by_uid.get("ghost") is None:
            await asyncio.sleep(0.005)
        assert (await it.send({"k8s.pod.uid": "ghost"}))[0]["k8s.node.name"] == "n"

    run(tmp_path, test, hold=Hold(timeout=Duration(0.3), first_timeout=Duration(5)))


def test_what_nothing_associates_does_not_wait(tmp_path):
    async def test(api, it):
        await it.synced()
        began = time.monotonic()
        assert await it.send({"service": "x"}) == [{"service": "x"}]
        assert time.monotonic() - began < 0.5
        assert it.context.meter.counts["processor_k8sattributes_unenriched_items", "no_association"] == 1
        assert it.context.meter.counts["processor_k8sattributes_pod_association_error", "logs"] == 1

    run(tmp_path, test)


def test_no_more_than_the_limit_waits(tmp_path):
    async def test(api, it):
        await it.synced()
        waiting = asyncio.create_task(it.send({"k8s.pod.uid": "ghost-1"}))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await it.send({"k8s.pod.uid": "ghost-2"})
        assert time.monotonic() - began < 0.3 and not waiting.done()
        assert it.context.meter.counts["processor_k8sattributes_unenriched_items", "hold_full"] == 1
        await waiting

    run(tmp_path, test, hold=Hold(timeout=Duration(0.5), max_bytes=ByteSize(60)))


def test_a_cancelled_wait_leaves_nothing_behind(tmp_path):
    async def test(api, it):
        await it.synced()
        sending = asyncio.create_task(it.send({"k8s.pod.uid": "ghost"}))
        await asyncio.sleep(0.05)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert sending.cancelled() and not it.sink.batches
        assert it.processor._patience.held == 0 and not it.processor._watch.pods.by_uid._waiting

    run(tmp_path, test)


def test_busy_and_the_batch_itself_pass_through(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua"))
        await it.synced()
        it.sink.raises = Busy("later", 3)
        with pytest.raises(Busy):
            await it.send({"k8s.pod.uid": "ua"})
        it.sink.raises = None
        await it.send({"k8s.pod.uid": "ua"}, signal=Signal.TRACES, peer="10.0.0.5")
        assert (it.sink.batches[0].signal, it.sink.batches[0].peer) == (Signal.TRACES, "10.0.0.5")
        assert it.context.meter.counts["processor_k8sattributes_pod_association_success", "traces"] == 1

    run(tmp_path, test)


def test_a_malformed_resource_passes_and_harms_no_other(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua"))
        await it.synced()
        good, bad = Resource.of({"k8s.pod.uid": "ua"}), Resource(b"\x0a\xff")
        await it.processor.consume(
            Batch(Signal.LOGS, [Group(bad, (), 1), Group(Resource(memoryview(good.raw)), (), 1)])
        )
        first, second = it.sink.batches[0].groups
        assert first.resource.raw == b"\x0a\xff" and second.resource.attributes["k8s.node.name"] == "node-1"

    run(tmp_path, test)


# --- deleted pods, an API server that is away, several processors


def test_the_last_logs_of_a_deleted_pod_are_enriched(tmp_path):
    async def test(api, it):
        api.put(objects.pod("shop", "a", uid="ua", node="na"))
        await it.synced()
        api.delete("shop", "a")
        while len(it.processor._watch.pods):
            await asyncio.sleep(0.005)
        assert (await it.send({"k8s.pod.uid": "ua"}))[0]["k8s.node.name"] == "na"
        it.processor._watch.pods._clock = lambda: time.monotonic() + 121
        it.processor._watch.pods.expire()
        assert "k8s.node.name" not in (await it.send({"k8s.pod.uid": "ua"}))[0]
        meter = it.context.meter
        assert meter.counts["otelsvc_k8s_pod_added",] == meter.counts["otelsvc_k8s_pod_deleted",] == 1
        assert meter.gauges["otelsvc_k8s_pod_table_size"]() == 0

    run(tmp_path, test, hold=NO_HOLD)


def test_start_without_the_api_server_then_with_it(tmp_path, caplog):
    async def main():
        api = DemoApi()
        port = await api.start()
        await api.stop()
        api.put(objects.pod("shop", "a", uid="ua", node="na"))
        hold = Hold(first_timeout=Duration(0.3), timeout=Duration(0.1))
        began = time.monotonic()
        async with Running(
            tmp_path, api, wait_for_metadata=True, wait_for_metadata_timeout=Duration(0.2), hold=hold
        ) as it:
            assert 0.19 < time.monotonic() - began < 1  # it starts, having waited
            assert await it.send({"k8s.pod.uid": "ub"}) == [{"k8s.pod.uid": "ub"}]
            assert 0.45 < time.monotonic() - began < 2
            it.processor._patience._first = 5
            sending = asyncio.create_task(it.send({"k8s.pod.uid": "ua"}, {"k8s.pod.uid": "uc"}))
            await asyncio.sleep(0.1)
            await api.start(port=port)
            began = time.monotonic()
            one, other = await sending
            # Once the list is there, what it does not have is waited for only as long as always.
            assert time.monotonic() - began < 2
            assert one["k8s.node.name"] == "na" and other == {"k8s.pod.uid": "uc"}
            await api.stop()
            assert (await it.send({"k8s.pod.uid": "ua"}))[0]["k8s.node.name"] == "na"

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert any("starting without: the API server cannot be reached" in message for message in caplog.messages)


def test_a_wrong_kubeconfig_stops_the_start(tmp_path):
    config = Config(auth_type="kubeConfig", kube_config_path=str(tmp_path / "absent"))

    async def main():
        processor = K8sAttributes(config, Context(Watches()), Sink())
        with pytest.raises(HawseError, match="absent not found"):
            await processor.start()
        await processor.stop()

    asyncio.run(main())


def test_stop_without_start(tmp_path):
    async def main():
        processor = K8sAttributes(Config(), Context(Watches()), Sink())
        await processor.stop()
        await processor.stop()

    asyncio.run(main())


def test_processors_of_the_same_pods_share_one_watch_and_those_of_others_do_not(tmp_path):
    async def main():
        async with DemoApi() as api:
            api.put(objects.pod("shop", "a", uid="ua", labels={"v": "1"}, annotations={"n": "2"}))
            watches = Watches()
            first = Running(tmp_path, api, watches, extract=extract(labels=(FieldExtract(key="v"),)))
            async with first:
                await first.synced()
                assert api.requests.count("list pods") == 1
                second = Running(tmp_path, api, watches, extract=extract(annotations=(FieldExtract(key="n"),)))
                third = Running(tmp_path, api, watches, filter=Filter(namespace="zoo"), hold=NO_HOLD)
                assert second.processor._watch is first.processor._watch is not third.processor._watch
                await second.processor.start()
                await third.processor.start()
                await third.synced()
                (made,) = await second.send({"k8s.pod.uid": "ua"})
                while "k8s.pod.annotations.n" not in made:  # it listed anew, to keep annotations as well
                    await asyncio.sleep(0.01)
                    (made,) = await second.send({"k8s.pod.uid": "ua"})
                assert "k8s.pod.labels.v" not in made
                assert (await first.send({"k8s.pod.uid": "ua"}))[0]["k8s.pod.labels.v"] == "1"
                assert await third.send({"k8s.pod.uid": "ua"}) == [{"k8s.pod.uid": "ua"}]
                assert api.requests.count("list pods") == 3
                await second.processor.stop()
                api.put(objects.pod("shop", "b", uid="ub", labels={"v": "3"}))
                assert (await first.send({"k8s.pod.uid": "ub"}))[0]["k8s.pod.labels.v"] == "3"
                await third.processor.stop()
            assert not watches._watches
        assert [task for task in asyncio.all_tasks() if "kube" in task.get_name()] == []

    asyncio.run(main())


# --- whatever comes


VALUE = st.one_of(
    st.text(max_size=5), st.integers(-5, 5), st.booleans(), st.none(), st.lists(st.text(max_size=2), max_size=2)
)
NAMES = ["k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name", "k8s.pod.ip", "k8s.node.name", "k8s.container.name", "x"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(NAMES), st.one_of(VALUE, st.sampled_from(["u1", "web", "shop", "10.0.0.1"])), max_size=6
        ),
        max_size=6,
    )
)
def test_whatever_resources_come_nothing_is_lost_or_overwritten(tmp_path_factory, resources):
    async def test(api, it):
        api.put(objects.pod("shop", "web", uid="u1", ips=("10.0.0.1",)))
        await it.synced()
        for _ in range(2):  # fresh, and remembered
            made = await it.send(*resources)
            assert len(made) == len(resources)
            for before, after in zip(resources, made, strict=True):
                for key, value in before.items():
                    assert after[key] == value or value in (None, "")
                assert set(after) >= set(before)
            for group in it.sink.batches[-1].groups:
                assert wire.decode_attributes(group.resource.raw) == group.resource.attributes

    run(tmp_path_factory.mktemp("k"), test, hold=NO_HOLD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("web-0", None),
        (5, None),
        ("", None),
    ],
)
def test_addresses(text, expected):
    assert address(text) == expected
