"""10,000 targets of 200 monitors: what looking at all of them costs, and that nothing holds the loop for long."""

import asyncio
import gc
import json
import time

import msgspec
import pytest

from hawse.allocator.crd import Monitor
from hawse.kube.objects import ObjectMeta
from hawse.prometheus.discovery import Discoverer
from hawse.prometheus.targets import TargetGroup
from tests.allocator.cluster import allocating

NAMESPACES, SERVICES, PODS = 20, 10, 50
META = "__meta_kubernetes_"


def group(ns, number, pods=PODS):
    """An EndpointSlice as discovery tells it."""
    labels = {f"{META}namespace": f"ns-{ns}", f"{META}service_name": f"web-{number}"}
    labels |= {f"{META}service_label_app": f"web-{number}", f"{META}service_labelpresent_app": "true"}
    targets = []
    for pod in range(pods):
        ip = f"10.{ns + 1}.{number}.{pod + 1}"
        one = {
            "__address__": f"{ip}:8080",
            f"{META}pod_ip": ip,
            f"{META}pod_name": f"web-{number}-{pod}",
            f"{META}endpointslice_port_name": "http",
            f"{META}endpointslice_address_target_kind": "Pod",
            f"{META}endpointslice_address_target_name": f"web-{number}-{pod}",
            f"{META}pod_phase": "Running",
            f"{META}pod_container_name": "app",
        }
        targets.append(one | {f"{META}pod_label_{key}": f"value-{key}" for key in range(20)})
    return TargetGroup(f"endpointslice/ns-{ns}/web-{number}", tuple(targets), labels)


class Everything(Discoverer):
    """Finds all at once."""

    error = ""
    synced = False

    async def run(self, publish):
        self.publish = publish
        publish([group(ns, number) for ns in range(NAMESPACES) for number in range(SERVICES)])
        self.synced = True
        await asyncio.Event().wait()


async def longest(work):
    """The result of work, and the longest that the loop was held meanwhile."""
    worst, done = 0.0, False

    async def watch():
        nonlocal worst
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - before)

    task = asyncio.create_task(watch())
    result = await work
    done = True
    await task
    return result, worst


@pytest.mark.slow
def test_ten_thousand_targets(tmp_path, capsys, monkeypatch):
    discoverer = Everything("everything")
    monkeypatch.setattr("hawse.allocator.looks.discoverers", lambda config, context: [discoverer])

    async def whole():
        keys = {
            "namespaces": ["*"],
            "collectors": {"static": [f"c-{number}" for number in range(4)]},
        }
        async with allocating(None, tmp_path, **keys) as run:
            allocator = run.allocator
            for ns in range(NAMESPACES):
                sink = allocator.monitors.sink("ServiceMonitor", f"ns-{ns}")
                for number in range(SERVICES):
                    selector = {"matchLabels": {"app": f"web-{number}"}}
                    spec = msgspec.Raw(json.dumps({"selector": selector, "endpoints": [{"port": "http"}]}).encode())
                    sink.put(Monitor(ObjectMeta(name=f"web-{number}", namespace=f"ns-{ns}"), spec))
            await run.until(lambda: sum(allocator.assignment.counts.values()) == NAMESPACES * SERVICES * PODS, 30)
            gc.collect()
            gc.freeze()

            began = time.process_time()
            allocator.board._unseen.update(allocator.board.working)
            _, held = await longest(allocator.board.settle())
            relabelled = time.process_time() - began
            began = time.process_time()
            _, held_too = await longest(allocator._assign())
            assigned = time.process_time() - began

            began = time.process_time()
            discoverer.publish([group(0, 0, 1)])
            await run.until(lambda: len(run.addresses("serviceMonitor/ns-0/web-0/0")) == 1)
            changed = time.process_time() - began
            explained, held_last = await longest(run.explain("10.99.9.9:1"))
            assert explained["summary"].startswith("10.99.9.9:1 was not discovered")
            one = sum([await run.targets("serviceMonitor/ns-1/web-0/0", f"c-{number}") for number in range(4)], [])
            assert len(one) == PODS
            return relabelled, assigned, changed, max(held, held_too, held_last)

    try:
        relabelled, assigned, changed, held = asyncio.run(whole())
    finally:
        gc.unfreeze()
    with capsys.disabled():
        print(
            f"\n10,000 targets: relabel {relabelled:.2f}s, assign {assigned:.3f}s, one change {changed:.3f}s of CPU; ",
            end="",
        )
        print(f"the loop was held for {held * 1000:.0f}ms at most")
    assert relabelled + assigned < 1.0
    assert changed < 0.2


def test_a_job_with_many_targets_is_answered_in_pieces(tmp_path):
    targets = [f"10.0.{n // 250}.{n % 250}:80" for n in range(1001)]
    config = {"scrape_configs": [{"job_name": "all", "static_configs": [{"targets": targets}]}]}

    async def whole():
        async with allocating(None, tmp_path, collectors={"static": ["c-0"]}, config=config) as run:
            assert await run.targets("all", "c-0") == sorted(targets)

    asyncio.run(whole())


def test_a_tenants_large_list_holds_nobody_up(tmp_path, capsys):
    """An object of etcd's largest size: tens of thousands of static targets, and rules on them."""
    targets = [f"t{n}.shop.svc:80" for n in range(20_000)]
    rules = [{"sourceLabels": ["__address__"], "regex": f"(.*){n}(.*)", "targetLabel": f"l{n}"} for n in range(5)]
    spec = {"staticConfigs": [{"targets": targets}], "relabelings": rules}

    async def whole():
        async with allocating(None, tmp_path, collectors={"static": ["c-0", "c-1"]}) as run:
            sink = run.allocator.monitors.sink("ScrapeConfig", "monitoring")
            monitor = Monitor(ObjectMeta(name="x", namespace="monitoring"), msgspec.Raw(json.dumps(spec).encode()))
            allow = run.allocator.guard.allow
            assert not allow.foreign_addresses
            sink.put(monitor)
            _, held = await longest(run.until(lambda: "scrapeConfig/monitoring/x" in run.allocator.board.working, 30))
            parts = run.allocator.board.working["scrapeConfig/monitoring/x"].parts
            _, held_too = await longest(run.until(lambda: parts, 30))
            tally = [part.tally for part in run.allocator.board.working["scrapeConfig/monitoring/x"].parts.values()]
            return tally[0], max(held, held_too)

    tally, held = asyncio.run(whole())
    assert (tally.discovered, tally.refused) == (20_000, 20_000)  # another namespace's names
    with capsys.disabled():
        print(f"\n20,000 static targets of a tenant: the loop was held for {held * 1000:.0f}ms at most")
