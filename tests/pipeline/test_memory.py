"""The memory budget and the servers that a graph's components share."""

import asyncio

from hawse.net.budget import Budget, in_flight
from hawse.net.server import HttpServers
from hawse.pipeline.memory import shared
from hawse.pipeline.telemetry import Telemetry


def test_budget_and_refusals_show_in_self_metrics():
    telemetry = Telemetry()
    made = shared(256 << 20, telemetry)
    budget, servers = made[Budget], made[HttpServers]
    budget.charge(1234)
    servers._refused("max_header_count")
    text = telemetry.render()
    assert "hawse_memory_in_flight_bytes 1234\n" in text
    assert f"hawse_memory_budget_bytes {in_flight(256 << 20)}\n" in text
    assert f"hawse_memory_limit_bytes {256 << 20}\n" in text
    assert 'hawse_server_refused_total{limit="max_header_count"} 1\n' in text
    assert servers._budget is budget

    async def close():
        for instance in made.values():
            if hasattr(instance, "close"):
                await instance.close()

    asyncio.run(close())
    assert "hawse_memory" not in "".join(line for line in telemetry.render().splitlines() if not line.startswith("#"))


def test_every_component_of_a_graph_has_the_same(tmp_path):
    from hawse.pipeline.check import check
    from hawse.pipeline.running import running
    from hawse.registry import Registry

    text = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
exporters: {file: {path: %s}}
service: {pipelines: {logs: {receivers: [otlp], exporters: [file]}}, memory_limit: 100MiB}
""" % (tmp_path / "out")

    async def run():
        async with running(check([f"yaml:{text}"], Registry).required()) as made:
            return made.shared(Budget).memory_limit, made.shared(HttpServers)._budget is made.shared(Budget)

    assert asyncio.run(run()) == (100 << 20, True)
