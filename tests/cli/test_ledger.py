"""`hawse ledger`: what it shows, and its exit codes."""

import asyncio
import json
import re
import threading

import pytest
import yaml

from hawse import cli
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Kind
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.pipeline.check import check
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.held import Held
from hawse.pipeline.ledger.report import report
from hawse.pipeline.ledger.store import Kept
from hawse.pipeline.running import running
from hawse.registry import Registry
from hawse.state.storage import Storage


@pytest.fixture
def hawse(capsys, monkeypatch):
    monkeypatch.delenv("HAWSE_CONFIG", raising=False)

    def run(*arguments):
        code = cli.main(["ledger", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def group(name, items):
    return Group(Resource.of({"k8s.namespace.name": "shop", "k8s.pod.name": name}), (), items)


def filled(*, refused=0, lost=0):
    """A ledger with something on most accounts."""
    ledger = Ledger()
    ComponentLedger(ledger, Kind.RECEIVER, "filelog", {Signal.LOGS}).filtered(group("web", 7), "operators[1]")
    own = ComponentLedger(ledger, Kind.PROCESSOR, "source", {Signal.LOGS})
    received = ledger.account(Signal.LOGS, Kind.RECEIVER, "filelog", own_outcome("received"))
    delivered = ledger.account(Signal.LOGS, Kind.EXPORTER, "otlphttp", own_outcome("delivered"))
    ledger.books.add([(received, "shop/web", 1234567 + lost), (delivered, "shop/web", 1234567)])
    ledger.books.add([(received, "shop/db", 30 + refused)])
    own.filtered(group("db", 20), "exclude.k8s.pod.name")
    own.filtered(group("db", 10), "pod annotation sumologic.com/exclude")
    if refused:
        ComponentLedger(ledger, Kind.PROCESSOR, "source", {Signal.LOGS}).refused(group("db", refused), "malformed")
    return ledger


def own_outcome(name):
    from hawse.pipeline.ledger.accounts import Outcome

    return Outcome(name)


class Served:
    """Ledgers over HTTP, in a thread with a loop of its own; one after the other, the last one for good."""

    def __init__(self, *ledgers, answer=None):
        self.ledgers = list(ledgers)
        self.answer = answer
        self.asked = []
        self._up = threading.Event()

    async def _ledger(self, request):
        self.asked.append(request.raw_query)
        if self.answer is not None:
            return self.answer
        drawn = self.ledgers.pop(0) if len(self.ledgers) > 1 else self.ledgers[0]
        if isinstance(drawn, Ledger):
            drawn = report(drawn, sources="by=source" in request.raw_query)
        import msgspec

        return Response(200, msgspec.json.encode(drawn), content_type="application/json")

    async def _main(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        servers = HttpServers()
        routes = {("GET", "/ledger"): self._ledger}
        self.port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), routes, owner="test")
        self._up.set()
        await self._end.wait()
        await servers.close()

    def __enter__(self):
        self._thread = threading.Thread(target=asyncio.run, args=[self._main()])
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


def test_text(hawse):
    with Served(filled()) as served:
        code, out, err = hawse("--url", served.url)
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == [
        "  total                                                received  delivered  filtered  refused  dropped  in flight",
        "  logs                                                1,234,604  1,234,567        37        0        0          0",
        "",
        "  by component",
        "  receiver filelog                                    1,234,604                    7",
        "      filtered: operators[1]                                                       7",
        "  processor source                                                                30",
        "      filtered: exclude.k8s.pod.name                                              20",
        "      filtered: pod annotation sumologic.com/exclude                              10",
        "  exporter otlphttp                                              1,234,567",
        "",
        "every record is accounted for, none is lost",
    ]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", out.splitlines()[0])


def test_by_source_and_as_data(hawse):
    with Served(filled()) as served:
        code, out, _ = hawse("--url", f"127.0.0.1:{served.port}", "--by-source")
        assert code == 0
        assert re.search(r"^  shop/web +1,234,574  1,234,567 +7$", out, re.M)
        assert re.search(r"^  shop/db +30 +30$", out, re.M)
        for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
            (one,) = read(hawse("--url", f"{served.url}/ledger", "--by-source", "-o", form)[1])
            assert (one["url"], one["balanced"], one["quiet"]) == (served.url, True, True)
            assert [line["source"] for line in one["sources"]] == ["shop/db", "shop/web"]
            assert one["totals"][0]["reasons"]["filtered"]["exclude.k8s.pod.name"] == 20
            assert one["totals"][0]["dropped"] == 0  # keys are there whatever they hold
        assert json.loads(hawse("--url", served.url, "-o", "json")[1])[0]["sources"] is None
    assert served.asked == ["by=source"] * 3 + [""]


def test_loss_is_exit_code_1(hawse):
    with Served(filled(refused=4)) as served:
        code, out, _ = hawse("--url", served.url)
    assert (code, out.splitlines()[-1]) == (1, "4 refused")
    assert "      refused: malformed" in out


def test_what_does_not_add_up_is_exit_code_1(hawse):
    with Served(filled(lost=3)) as served:
        code, out, _ = hawse("--url", served.url)
        assert len(served.asked) == 1  # it is quiet: asking again would not help
    assert (code, out.splitlines()[-1]) == (1, "not accounted for: +3 logs")
    assert "unaccounted" in out.splitlines()[1]


def test_while_records_are_on_their_way_it_is_asked_again(hawse, monkeypatch):
    monkeypatch.setattr("hawse.cli.ledger._BETWEEN", 0)
    moving = report(filled(lost=3))
    moving.quiet = False
    with Served(moving, moving, filled()) as served:
        assert hawse("--url", served.url)[0] == 0
        assert len(served.asked) == 3
    with Served(moving) as served:
        code, out, _ = hawse("--url", served.url)
        assert (code, len(served.asked)) == (1, 10)
    assert "not accounted for" in out


def test_several_signals_and_processes(hawse):
    ledger = filled()
    own = ComponentLedger(ledger, Kind.EXPORTER, "otlphttp", set(Signal))
    spans = ledger.account(Signal.TRACES, Kind.RECEIVER, "otlp", own_outcome("received"))
    ledger.books.add([(spans, "", 5), (own.number(Signal.TRACES, own_outcome("delivered")), "", 5)])
    with Served(ledger) as one, Served(filled(refused=1)) as two:
        code, out, _ = hawse("--url", one.url, "--url", two.url, "--by-source")
    assert code == 1
    assert re.search(r"^  traces +5 +5 +0", out, re.M)
    assert re.search(r"^  receiver otlp \(traces\) +5$", out, re.M)
    assert re.search(r"^  \(none\) \(traces\) +5 +5$", out, re.M)
    assert out.count(", since ") == 2


def test_nothing_yet(hawse):
    with Served(Ledger()) as served:
        code, out, _ = hawse("--url", served.url)
    assert (code, out.splitlines()[1:]) == (0, ["  nothing was received yet"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response(404, "no"), "answered 404; name the address of service.telemetry.metrics"),
        (Response(200, "{}"), "is not a ledger"),
        (Response(200, "<html>"), "is not a ledger"),
    ],
)
def test_something_else_answers(hawse, answer, message):
    with Served(answer=answer) as served:
        code, out, err = hawse("--url", served.url)
    assert (code, out) == (3, "")
    assert message in err


def test_nobody_answers(hawse):
    code, out, err = hawse("--url", "127.0.0.1:1")
    assert (code, out) == (3, "")
    assert "[HW705] cannot connect to 127.0.0.1:1" in err
    assert "service.telemetry.metrics" in err


def test_the_address_of_a_configuration(hawse, tmp_path):
    with Served(filled()) as served:
        text = """
receivers: {otlp: {protocols: {http: }}}
exporters: {debug: }
service:
  pipelines: {logs: {receivers: [otlp], exporters: [debug]}}
  telemetry: {metrics: {address: "0.0.0.0:%s"}}
"""
        (tmp_path / "c.yaml").write_text(text % served.port)
        code, out, _ = hawse("-c", tmp_path / "c.yaml")
        assert code == 0
        assert out.startswith(f"http://127.0.0.1:{served.port}, since")
    (tmp_path / "c.yaml").write_text(text.partition("  telemetry")[0])
    code, _, err = hawse("-c", tmp_path / "c.yaml")
    assert code == 2
    assert "serves no self-metrics" in err


def test_what_a_process_has_left(hawse, tmp_path):
    storage = Storage()
    storage.open_storage(str(tmp_path))
    ledger = filled()
    kept = Kept(ledger, storage)
    kept.open()
    held = Held(ledger, Kind.EXPORTER, "otlphttp")
    received = ledger.account(Signal.LOGS, Kind.RECEIVER, "filelog", own_outcome("received"))
    one = Batch(Signal.LOGS, [group("queued", 9)])
    with held.entering(one.signal, held.sources(one)), storage.transaction():
        ledger.books.add([(received, "shop/queued", 9)])
    code, out, _ = hawse("--state", tmp_path)  # while it runs
    assert code == 0
    assert out.splitlines()[2].split()[-1] == "9"
    kept.close()
    storage.close_storage()
    code, again, _ = hawse("--state", tmp_path)
    assert (code, again) == (0, out)


def test_a_folder_without_one(hawse, tmp_path):
    code, _, err = hawse("--state", tmp_path)
    assert code == 3
    assert f"there is no {tmp_path}/state.db" in err
    (tmp_path / "state.db").write_text("not a database, but as long as the header of one: 100 bytes" * 2)
    code, _, err = hawse("--state", tmp_path)
    assert code == 3
    assert "holds no ledger" in err


def test_of_a_real_process(hawse, tmp_path):
    """Over HTTP, self-metrics included."""
    (tmp_path / "c.yaml").write_text(f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:0"}}}}}}}}
processors: {{source: {{exclude: {{k8s.pod.name: ^x}}}}}}
exporters: {{file: {{path: {tmp_path}/out.json}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], processors: [source], exporters: [file]}}}}
  telemetry: {{metrics: {{address: "127.0.0.1:0"}}}}
""")

    async def main():
        from hawse.net.client import HttpClient
        from hawse.net.settings import ClientConfig

        async with running(check([str(tmp_path / "c.yaml")], Registry, environ={}).required()) as it:
            port = it.components["receiver:otlp"].port
            client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{port}"))
            scopes = b"\x12\x06\x12\x00\x12\x00\x12\x00"
            body = Batch(
                Signal.LOGS, [Group(Resource.of({"k8s.pod.name": name}), (scopes,), 3) for name in ("web", "xy")]
            ).encode()
            answer = await client.request("POST", "/v1/logs", [body], {"content-type": "application/x-protobuf"})
            assert answer.status == 200
            url = f"http://127.0.0.1:{it.ports[0]}"
            shown = await asyncio.to_thread(hawse, "--url", url, "--by-source")
            metrics = await client.request("GET", f"{url}/metrics")
            await client.close()
            return shown, metrics.body.decode()

    (code, out, _), metrics = asyncio.run(main())
    assert code == 0
    assert re.search(r"^  logs +6 +3 +3 +0 +0 +0$", out, re.M)
    assert re.search(r"^  xy +3 +3$", out, re.M)
    for line in (
        'hawse_ledger_received_items_total{otel_signal="logs",receiver="otlp"} 6',
        'hawse_ledger_delivered_items_total{exporter="file",otel_signal="logs"} 3',
        'hawse_ledger_filtered_items_total{otel_signal="logs",processor="source",rule="exclude.k8s.pod.name"} 3',
        'hawse_ledger_in_flight_items{otel_signal="logs"} 0',
        'hawse_ledger_unaccounted_items{otel_signal="logs"} 0',
        "hawse_ledger_sources 2",
    ):
        assert line in metrics.splitlines()
