"""What exporters make of 400, 401, 403 and 413, with the pipeline behind them."""

import asyncio
import json
import logging
from collections import Counter

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp, otlp_records
from hawse.component import Refused
from hawse.config.decode import Decoder
from hawse.config.expand import Expander
from hawse.config.reader import read_yaml
from hawse.exporters import otlphttp, sumologic
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.state.storage import Storage
from hawse.values import ComponentID
from hawse.wire import encode_value, field

QUICK = "retry_on_failure: {initial_interval: 10ms, max_interval: 20ms}"
FACTORIES = {"otlphttp": otlphttp.factory, "sumologic": sumologic.factory}


class Context:
    def __init__(self, id_, storage):
        self.id = ComponentID(id_)
        self.log = logging.LoggerAdapter(logging.getLogger("hawse.test"), {})
        self.meter = self.ledger = self
        self.storage = storage
        self.said = Counter()

    def counter(self, *_, **__):
        return self

    def add(self, *_, **__):
        pass

    def gauge(self, *_, **__):
        pass

    def shared(self, kind):
        return kind()

    def extension(self, id_, kind):
        return self.storage

    def refused(self, group, reason):
        self.said[reason] += group.items


def configured(factory, text):
    findings = []
    node = Expander({}, findings).expand(read_yaml(text, "test.yaml", findings))
    config = Decoder(findings).struct(node, factory.config, "exporters.x")
    assert findings == []
    return config


def exported(tmp_path, type_, answer, batch, settings="", times=1, stored=False, between=lambda: None):
    """Send a batch so many times; the requests, the context, and what was raised."""
    requests = []

    async def backend(request):
        response = answer(request, len(requests))
        requests.append((request, response.status))
        return response

    async def run():
        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/*"): backend}, owner="b")
        storage = Storage()
        storage.open_storage(str(tmp_path / "state"))
        queue = "sending_queue: {storage: file_storage}\n" if stored else ""
        text = f"{QUICK}\n{queue}{settings}".replace("URL", f"http://127.0.0.1:{port}")
        if "endpoint" not in text:
            text += f"\nendpoint: http://127.0.0.1:{port}"
        config = configured(FACTORIES[type_], text)
        context = Context(type_, storage)
        exporter = Sending(FACTORIES[type_].create(config, context), config, context, Ledger())
        await exporter.start()
        raised = None
        for _ in range(times):
            try:
                async with asyncio.timeout(10):
                    await exporter.consume(batch)
                    while stored and exporter._queue._line.requests:
                        await asyncio.sleep(0.01)
            except Refused as refused:
                raised = refused
            between()
        await exporter.stop()
        storage.close_storage()
        await servers.close()
        return raised, context

    raised, context = asyncio.run(run())
    return requests, context, raised


def group(name, *bodies):
    records = b"".join(field(2, field(5, encode_value(body))) for body in bodies)
    return Group(Resource.of({"_sourceName": name}), (field(2, records),), len(bodies))


def logs(*groups):
    return Batch(Signal.LOGS, groups)


def texts(request):
    """The records of a request, whatever the exporter."""
    if "protobuf" not in request.headers["content-type"]:
        return request.body.decode().split("\n")
    groups = otlp.decode(Signal.LOGS, request.body).groups
    return [record.body for one in groups for record in otlp_records.log_records(one)]


def taken(requests):
    return sorted(text for request, status in requests if status == 200 for text in texts(request))


WAYS = pytest.mark.parametrize(
    ("type_", "settings"),
    [("otlphttp", ""), ("otlphttp", "compression: none"), ("sumologic", ""), ("sumologic", "log_format: text")],
)
STORED = pytest.mark.parametrize("stored", [False, True], ids=["memory", "disk"])


@WAYS
@STORED
def test_too_large_is_split_until_it_fits(tmp_path, type_, settings, stored):
    def answer(request, _):
        return Response(413 if len(texts(request)) > 3 else 200)

    batch = logs(
        group("a", *(f"a{n:02}" for n in range(17))), group("b", "b0"), group("c", *(f"c{n}" for n in range(5)))
    )
    requests, context, raised = exported(tmp_path, type_, answer, batch, settings, stored=stored)
    assert raised is None
    assert taken(requests) == sorted([*(f"a{n:02}" for n in range(17)), "b0", *(f"c{n}" for n in range(5))])
    assert context.said == {}


@WAYS
@STORED
def test_what_is_refused_is_found_and_the_rest_arrives(tmp_path, type_, settings, stored):
    def answer(request, _):
        return Response(400, b"no") if any("bad" in text for text in texts(request)) else Response(200)

    good = [group(f"g{n}", f"good {n}") for n in range(9)]
    batch = logs(*good[:4], group("x", "bad"), *good[4:])
    requests, context, raised = exported(tmp_path, type_, answer, batch, settings, stored=stored)
    assert raised is None
    assert taken(requests) == [f"good {n}" for n in range(9)]
    if not stored:
        assert context.said == {"http_400": 1}
        return
    (letter,) = (tmp_path / "state" / f"dead-letter-{type_}.jsonl").read_text().splitlines()
    letter = json.loads(letter)
    assert letter["reason"].endswith("answered 400: no")
    (resource,) = letter["data"]["resourceLogs"]
    assert resource["resource"]["attributes"] == [{"key": "_sourceName", "value": {"stringValue": "x"}}]
    assert resource["scopeLogs"][0]["logRecords"] == [{"body": {"stringValue": "bad"}}]


def test_the_same_in_json(tmp_path):
    def answer(request, _):
        return Response(400 if b"bad" in request.body else 413 if request.body.count(b"good") > 2 else 200)

    batch = logs(group("a", *(f"good {n}" for n in range(9))), group("b", "bad"))
    requests, context, _ = exported(tmp_path, "otlphttp", answer, batch, "encoding: json")
    assert sum(request.body.count(b"good") for request, status in requests if status == 200) == 9
    assert context.said == {"http_400": 1}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("type_", ["otlphttp", "sumologic"])
def test_a_token_in_a_file_is_read_again(tmp_path, type_, status, caplog):
    token = tmp_path / "token"
    token.write_text("old\n")

    def answer(request, number):
        if number == 2:
            token.write_text("new\n")
        return Response(200 if request.headers["authorization"] == "Bearer new" else status)

    settings = "headers: {authorization: 'Bearer ${file:" + str(token) + "}'}"
    requests, _, raised = exported(tmp_path, type_, answer, logs(group("a", "x")), settings)
    assert raised is None
    assert [request.headers["authorization"] for request, _ in requests] == ["Bearer old"] * 3 + ["Bearer new"]
    told = " ".join(record.getMessage() for record in caplog.records)
    assert f"answered {status}" in told
    assert "read again" in told or "`endpoint`" in told
    assert "Bearer" not in told


def test_a_secret_url_in_a_file_is_read_again(tmp_path, caplog):
    url = tmp_path / "url"
    settings = "log_format: text\nendpoint: ${file:" + str(url) + "}"

    def answer(request, number):
        if number == 0:
            url.write_text(base.replace("old", "new"))
        return Response(200 if request.path == "/new" else 401)

    base = ""
    found = []

    async def run():
        nonlocal base
        servers = HttpServers()

        async def backend(request):
            found.append(request.path)
            return answer(request, len(found) - 1)

        number = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/*"): backend}, owner="b")
        base = f"http://127.0.0.1:{number}/old"
        url.write_text(base)
        config = configured(sumologic.factory, f"{QUICK}\n{settings}")
        context = Context("sumologic", None)
        exporter = Sending(sumologic.factory.create(config, context), config, context, Ledger())
        await exporter.start()
        async with asyncio.timeout(10):
            await exporter.consume(logs(group("a", "x")))
        await exporter.stop()
        await servers.close()

    asyncio.run(run())
    assert found == ["/old", "/new"]
    assert "`endpoint` was read again, and is another one now" in caplog.text
    assert "/old" not in caplog.text
