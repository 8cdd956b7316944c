"""The loadbalancing exporter with members of grpcio, that come, go, and do not answer."""

import asyncio
import os
from collections import defaultdict
from contextlib import asynccontextmanager

import grpc
import msgspec
import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.otlp import SERVICES
from hawse.codecs.span_writer import scope_spans, span
from hawse.component import Busy, Connects, Reads, Refused
from hawse.exporters.loadbalancing import Dns, LoadBalancingConfig, Members, Protocol, Static, Sub, factory, needs
from hawse.net.grpc import METHOD
from hawse.net.grpc_client import GrpcTLS
from hawse.net.http import Response
from hawse.net.retry import RetryConfig
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, TLSServer
from hawse.otlp import members as lookups
from hawse.otlp.ring import Ring
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.state.settings import QueueConfig
from hawse.values import Duration

from ..net.certificates import make
from .test_otlp import QUICK, Backend, FakeContext

PLAIN = GrpcTLS(insecure=True)


class Context(FakeContext):
    def __init__(self):
        super().__init__()
        self.tasks = []

    def spawn(self, coroutine, name):
        self.tasks.append(asyncio.ensure_future(coroutine))


def batch(traces=40, spans=3, groups=2, service="s"):
    """Every trace has spans in each of the groups."""
    ids = [os.urandom(16) for _ in range(traces)]

    def written():
        return [
            span(trace_id=one, span_id=os.urandom(8), name="n", kind=1, start=1, end=2)
            for _ in range(spans)
            for one in ids
        ]

    made = [
        Group(Resource.of({"service.name": f"{service}{n}"}), (scope_spans(written(), "scope"),), traces * spans)
        for n in range(groups)
    ]
    return Batch(Signal.TRACES, made)


def traces_of(backend):
    """Trace ID to how many spans a member got of it."""
    found = defaultdict(int)
    for request in backend.requests:
        for group in request.resource_spans:
            for scope in group.scope_spans:
                assert scope.scope.name == "scope"
                for one in scope.spans:
                    found[one.trace_id] += 1
    return found


@asynccontextmanager
async def balancing(config, context=None):
    context = context or Context()
    exporter = Sending(factory.create(config, context), config, context, Ledger())
    await exporter.start()
    try:
        yield exporter, context
    finally:
        await exporter.stop()
        for task in context.tasks:
            task.cancel()
        await asyncio.gather(*context.tasks, return_exceptions=True)


def static(*backends, **options):
    options.setdefault("retry_on_failure", QUICK)
    names = tuple(f"127.0.0.1:{one.port}" for one in backends)
    return LoadBalancingConfig(
        resolver=Members(static=Static(hostnames=names)), protocol=Protocol(otlp=Sub(tls=PLAIN)), **options
    )


async def stopped(*backends):
    await asyncio.gather(*(one.stop() for one in backends))


def test_all_spans_of_a_trace_go_to_the_member_of_the_ring():
    async def run():
        backends = [Backend() for _ in range(3)]
        config = static(*backends)
        async with balancing(config) as (exporter, context):
            sent = [batch() for _ in range(3)]
            for one in sent:
                await exporter.consume(one)
        ring = Ring(config.resolver.static.members)
        found = {f"127.0.0.1:{one.port}": traces_of(one) for one in backends}
        assert sum(len(own) for own in found.values()) == 120  # none is at two
        for member, own in found.items():
            assert own
            assert all(ring.member(trace) == member for trace in own)
            assert set(own.values()) == {6}
        assert context.sums["loadbalancer_num_backend_updates",] == 1
        await stopped(*backends)

    asyncio.run(run())


def test_by_service_all_of_it_goes_to_one():
    async def run():
        backends = [Backend() for _ in range(3)]
        async with balancing(static(*backends, routing_key="service")) as (exporter, _):
            await exporter.consume(batch(groups=12))
            await exporter.consume(batch(groups=12))
        seen = defaultdict(set)
        for number, backend in enumerate(backends):
            for request in backend.requests:
                for group in request.resource_spans:
                    seen[group.resource.attributes[0].value.string_value].add(number)
        assert len(seen) == 12
        assert all(len(members) == 1 for members in seen.values())
        assert len({min(members) for members in seen.values()}) > 1
        await stopped(*backends)

    asyncio.run(run())


def test_consume_returns_when_all_members_have_their_parts():
    async def run():
        backends = [Backend(), Backend()]
        backends[1].answers = [(grpc.StatusCode.UNAVAILABLE, 0.3)]
        async with balancing(static(*backends)) as (exporter, _):
            consuming = asyncio.ensure_future(exporter.consume(batch()))
            await asyncio.sleep(0.2)
            assert not consuming.done()
            await asyncio.wait_for(consuming, 5)
        assert [len(one.requests) for one in backends] == [1, 2]  # who had its part did not get it twice
        await stopped(*backends)

    asyncio.run(run())


def test_a_member_that_refuses_does_not_harm_the_others():
    async def run():
        backends = [Backend(), Backend()]
        backends[1].answers = [grpc.StatusCode.INVALID_ARGUMENT] * 100
        async with balancing(static(*backends)) as (exporter, _):
            await exporter.consume(batch(groups=1))  # some is delivered, so it is no refusal of all
        assert traces_of(backends[0])
        bad = Batch(Signal.TRACES, [Group(Resource(), (b"\xff\xff",), 1)])
        async with balancing(static(*backends)) as (exporter, _):
            with pytest.raises(Refused, match="malformed"):
                await exporter.consume(bad)
        await stopped(*backends)

    asyncio.run(run())


# --- members that come and go -----------------------------------------------------------------------------------------


class Names:
    """What the resolver finds; an exception is raised."""

    def __init__(self, monkeypatch, *found):
        self.found = list(found)
        self.asked = 0
        monkeypatch.setattr(lookups, "addresses", self)
        monkeypatch.setattr(lookups, "_SOONEST", 0.05)

    async def __call__(self, hostname, port, timeout):
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return sorted(f"127.0.0.1:{one.port}" for one in self.found)


def dns(**options):
    options.setdefault("retry_on_failure", QUICK)
    interval = options.pop("interval", Duration(0.05))
    return LoadBalancingConfig(
        resolver=Members(dns=Dns(hostname="sampler", interval=interval)),
        protocol=Protocol(otlp=Sub(tls=PLAIN)),
        **options,
    )


def test_what_waits_for_a_member_that_goes_is_divided_anew(monkeypatch):
    async def run():
        backends = [Backend() for _ in range(3)]
        names = Names(monkeypatch, *backends)
        async with balancing(dns()) as (exporter, context):
            first = batch()
            await exporter.consume(first)
            await backends[0].stop()
            waiting = [asyncio.ensure_future(exporter.consume(batch())) for _ in range(3)]
            await asyncio.sleep(0.3)
            assert not all(one.done() for one in waiting)  # the dead one is still listed
            names.found = backends[1:]
            await asyncio.wait_for(asyncio.gather(*waiting), 10)
            await exporter.consume(batch())
            assert context.sums["loadbalancer_num_backend_updates",] == 2
        found = [traces_of(one) for one in backends]
        counts = defaultdict(int)
        for own in found:
            for trace, spans in own.items():
                counts[trace] += spans
        assert len(counts) == 5 * 40
        assert set(counts.values()) == {6}  # none lost, none twice
        ring = Ring(f"127.0.0.1:{one.port}" for one in backends[1:])
        moved = [trace for trace in counts if trace not in found[0]]
        assert all(ring.member(trace) in {f"127.0.0.1:{one.port}" for one in backends[1:]} for trace in moved)
        await stopped(*backends[1:])

    asyncio.run(run())


def test_a_new_member_gets_its_share_and_the_old_ones_keep_theirs(monkeypatch):
    async def run():
        backends = [Backend() for _ in range(3)]
        names = Names(monkeypatch, *backends[:2])
        async with balancing(dns()) as (exporter, _):
            await exporter.consume(batch())
            assert not backends[2].requests
            names.found = backends
            await asyncio.sleep(0.2)
            await exporter.consume(batch(traces=100))
            assert len(traces_of(backends[2])) > 5
        await stopped(*backends)

    asyncio.run(run())


def test_the_connections_to_a_member_that_went_end(monkeypatch):
    async def run():
        backends = [Backend(), Backend()]
        names = Names(monkeypatch, *backends)
        config, context = dns(), Context()
        exporter = factory.create(config, context)
        await exporter.start()
        for request in exporter.prepare(batch()):
            await exporter.send(request)
        gone = exporter._destinations[f"127.0.0.1:{backends[0].port}"]._client._channel
        assert gone._connections
        names.found = backends[1:]
        await asyncio.sleep(0.3)
        assert not gone._connections
        await exporter.stop()
        for task in context.tasks:
            task.cancel()
        await asyncio.gather(*context.tasks, return_exceptions=True)
        await stopped(*backends)

    asyncio.run(run())


def test_without_members_batches_wait_and_a_failed_look_up_changes_nothing(monkeypatch):
    async def run():
        backend = Backend()
        names = Names(monkeypatch)
        async with balancing(dns()) as (exporter, context):
            waiting = asyncio.ensure_future(exporter.consume(batch()))
            await asyncio.sleep(0.15)
            assert not waiting.done()
            names.found = OSError(-2, "Name or service not known")
            await asyncio.sleep(0.15)
            names.found = [backend]
            await asyncio.wait_for(waiting, 5)
            names.found = OSError(-2, "Name or service not known")
            await asyncio.sleep(0.15)
            await exporter.consume(batch())
            assert context.sums["loadbalancer_num_resolutions", "dns", "false"] >= 2
        await backend.stop()
        once = RetryConfig(enabled=False)
        async with balancing(dns(retry_on_failure=once)) as (exporter, _):
            with pytest.raises(Busy, match=r"sampler cannot be resolved \(Name or service not known\)"):
                await exporter.consume(batch())

    asyncio.run(run())


def test_a_member_that_does_not_answer_is_looked_up_at_once(monkeypatch):
    async def run():
        backends = [Backend(), Backend()]
        names = Names(monkeypatch, *backends)
        async with balancing(dns(interval=Duration(60))) as (exporter, _):
            await exporter.consume(batch())
            await backends[0].stop()
            names.found = backends[1:]
            await asyncio.wait_for(exporter.consume(batch()), 5)
        assert names.asked >= 2
        await backends[1].stop()

    asyncio.run(run())


def test_requests_of_an_earlier_process_go_to_the_members_of_today():
    async def run():
        backends = [Backend() for _ in range(3)]
        config, context = static(*backends[:2]), Context()
        before = factory.create(config, context)
        await before.start()
        requests = before.prepare(batch())
        await before.stop()
        assert len(requests) == 2
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(requests), type=list[type(requests[0])])
        config = static(*backends[1:])
        after = Sending(factory.create(config, context), config, context, Ledger())
        await after.start()
        assert await after._attempts.send(kept) == []
        await after.stop()
        found = [traces_of(one) for one in backends]
        assert not found[0]
        assert len(found[1]) + len(found[2]) == 40
        ring = Ring(config.resolver.static.members)
        assert all(ring.member(trace) == f"127.0.0.1:{backends[1].port}" for trace in found[1])
        await stopped(*backends)

    asyncio.run(run())


def test_addresses_of_a_name():
    async def run():
        assert "127.0.0.1:4317" in await lookups.addresses("localhost", 4317, 5)
        assert await lookups.addresses("::1", 1, 5) == ["[::1]:1"]
        with pytest.raises((OSError, TimeoutError)):
            await lookups.addresses("no.such.name.invalid", 1, 5)

    asyncio.run(run())


# --- what users write -------------------------------------------------------------------------------------------------


def problems(resolver):
    parts = [part for part in (resolver, resolver.static, resolver.dns) if part is not None]
    return [(problem.path, problem.message) for part in parts for problem in part.problems()]


def test_problems():
    one, many = Dns(hostname="a"), Static(hostnames=("a", "b:1", "[::1]", "[::1]:4"))
    assert problems(Members(dns=one)) == problems(Members(dns=Dns(hostname="a", port="4317"))) == []
    assert problems(Members(static=many)) == []
    assert many.members == ("a:4317", "b:1", "[::1]:4317", "[::1]:4")
    assert problems(Members())[0][1] == "exactly one of static and dns is needed"
    assert problems(Members(dns=one, static=many))[0][1] == "exactly one of static and dns is needed"
    assert "permission" in problems(Members(k8s={"service": "a.b"}))[0][1]
    assert problems(Members(dns=Dns(hostname="a", port="x")))[0][0] == "port"
    assert problems(Members(static=Static(hostnames=("a", "a:x"))))[0][0] == "hostnames[1]"
    assert list(Sub(tls=PLAIN).problems()) == []


def test_the_queue_may_be_set_inside_or_outside():
    inside = Protocol(otlp=Sub(sending_queue=QueueConfig(num_consumers=3), retry_on_failure=QUICK))
    resolver = Members(dns=Dns(hostname="a"))
    config = LoadBalancingConfig(resolver=resolver, protocol=inside)
    assert (config.sending_queue.num_consumers, config.retry_on_failure) == (3, QUICK)
    config = LoadBalancingConfig(resolver=resolver, protocol=inside, sending_queue=QueueConfig(num_consumers=5))
    assert config.sending_queue.num_consumers == 5
    assert LoadBalancingConfig(resolver=resolver).sending_queue == QueueConfig()
    assert LoadBalancingConfig(resolver=resolver, timeout=Duration(3)).client("a:1").timeout == 3
    assert LoadBalancingConfig(resolver=resolver).client("10.0.0.1:1").tls.server_name_override == "a"


def test_needs():
    config = LoadBalancingConfig(
        resolver=Members(static=Static(hostnames=("a", "b:1"))), protocol=Protocol(otlp=Sub(tls=GrpcTLS(ca_file="/c")))
    )
    assert list(needs(config)) == [
        Connects("a", 4317, "tcp", "OTLP/gRPC"),
        Connects("b", 1, "tcp", "OTLP/gRPC"),
        Reads("/c", "TLS"),
    ]
    assert list(needs(dns())) == [Connects("sampler", 4317, "tcp", "OTLP/gRPC")]


def test_by_tls_certificates_are_for_the_name_that_was_looked_up(monkeypatch, tmp_path):
    make(tmp_path)
    tls = TLSServer(cert_file=str(tmp_path / "server.pem"), key_file=str(tmp_path / "server.key"))
    taken = []

    async def take(request):
        taken.append(request.body)
        return Response(200)

    async def run():
        servers, routes = HttpServers(), {(METHOD, SERVICES[Signal.TRACES]): take}
        ports = [
            await servers.mount(ServerConfig(endpoint="127.0.0.1:0", tls=tls), routes, owner=str(n)) for n in range(2)
        ]
        names = Names(monkeypatch)
        names.found = [type("Member", (), {"port": port}) for port in ports]
        for hostname, works in (("server.invalid", False), ("localhost", True)):
            config = LoadBalancingConfig(
                resolver=Members(dns=Dns(hostname=hostname)),
                protocol=Protocol(otlp=Sub(tls=GrpcTLS(ca_file=str(tmp_path / "ca.pem")))),
                retry_on_failure=RetryConfig(enabled=False),
            )
            async with balancing(config) as (exporter, _):
                if works:
                    await exporter.consume(batch())
                    assert len(taken) == 2
                else:
                    with pytest.raises(Busy, match="not trusted"):
                        await exporter.consume(batch())
        await servers.close()

    asyncio.run(run())
