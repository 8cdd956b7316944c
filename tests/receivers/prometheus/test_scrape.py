"""Scrapes against real sockets: what is sent, what comes of it, what is said of it."""

import asyncio
import gzip

import pytest

from hawse.component import Busy, Refused

from .rig import SELF, loop_of, running, scraping, targets


def taken(config, count=2, before=lambda target: None, number=1):
    """Run until `count` scrapes were taken; give back receiver and targets."""

    async def run():
        async with targets(number) as made:
            for one in made:
                before(one)
            async with running(config(*(one.address for one in made))) as receiver:
                await receiver.sink.until(lambda: len(receiver.sink.scrapes) >= count)
            return receiver, made

    return asyncio.run(run())


def one_scrape(body, before=lambda target: None, **job):
    """The first scrape of a target that exposes `body`, as {name: value}, and the receiver."""

    def prepare(target):
        target.answer = body
        before(target)

    receiver, made = taken(lambda *addresses: scraping(*addresses, **job), 1, prepare)
    return {point.name: point.value for point in receiver.sink.scrapes[0]}, receiver, made[0]


def test_a_scrape():
    body = '# TYPE a_total counter\na_total 3\nb{x="y"} 0.5\n'
    receiver, (target,) = taken(scraping, 3, lambda one: setattr(one, "answer", body))
    for number, scrape in enumerate(receiver.sink.scrapes):
        found = {point.name: point for point in scrape}
        assert set(found) == {"a_total", "b", *SELF}
        assert found["a_total"].value == 3
        assert found["b"].labels == {"__name__": "b", "x": "y", "job": "test", "instance": target.address}
        assert found["up"].value == 1
        assert found["scrape_samples_scraped"].value == found["scrape_samples_post_metric_relabeling"].value == 2
        assert found["scrape_series_added"].value == (0 if number else 2)
        assert 0 < found["scrape_duration_seconds"].value < 2
        assert len({point.at for point in scrape}) == 1
    assert target.connections == 1  # kept
    (resource, *_) = receiver.sink.resources[0]
    assert resource == {
        "service.name": "test",
        "service.instance.id": target.address,
        "server.address": "127.0.0.1",
        "server.port": str(target.port),
        "url.scheme": "http",
    }


def test_the_request():
    _, _, target = one_scrape("a 1\n", params={"match[]": ['{x="y"}']}, metrics_path="/federate", timeout="50ms")
    assert target.heads[0].startswith("GET /federate?match%5B%5D=%7Bx%3D%22y%22%7D HTTP/1.1\r\n")
    assert target.header("host") == target.address
    assert target.header("x-prometheus-scrape-timeout-seconds") == "0.05"
    assert target.header("accept-encoding") == "gzip"
    assert target.header("user-agent").startswith("hawse/")
    # As a Prometheus 3 sends it.
    assert target.header("accept") == (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )


def test_openmetrics_is_read_as_such():
    body = "# TYPE a counter\na_total 3\n# EOF\n"
    found, _, _ = one_scrape(body, lambda one: setattr(one, "kind", "application/openmetrics-text; version=1.0.0"))
    assert found["a_total"] == 3


def test_gzip():
    def zipped(target):
        body = gzip.compress(b"a 7\n" * 1)
        target.answer = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        ) + body

    found, _, _ = one_scrape(b"", zipped)
    assert found["a"] == 7
    assert one_scrape("a 1\n", enable_compression=False)[2].header("accept-encoding") == "identity"


@pytest.mark.parametrize(
    ("prepare", "job", "code", "says"),
    [
        ({"status": "500 Internal Server Error"}, {}, "http_status", "HTTP status 500 Internal Server Error: a 1"),
        ({"status": "302 Found"}, {}, "http_status", "302"),
        ({"kind": ""}, {}, "content_type", "no Content-Type, and the job has no fallback_scrape_protocol"),
        ({"kind": "text/html"}, {}, "content_type", "unsupported Content-Type 'text/html'"),
        ({"answer": "a 1\nb{ 2\n"}, {}, "malformed", "line 2"),
        ({"answer": "<html>\n"}, {}, "malformed", "line 1"),
        ({"answer": "a 1\nb 1\nc 1\n"}, {"sample_limit": 2}, "sample_limit", "sample_limit"),
        ({"answer": 'a{b="1",c="2"} 1\n'}, {"label_limit": 4}, "label_limit", "label_limit"),
        ({"answer": 'a{long="1"} 1\n'}, {"label_name_length_limit": 3}, "label_limit", "label_name_length_limit"),
        ({"answer": 'a{l="123456"} 1\n'}, {"label_value_length_limit": 5}, "label_limit", "label_value_length_limit"),
        ({"answer": "a 1\n" * 30}, {"body_size_limit": 100}, "body_size_limit", "over 100 bytes"),
        ({"answer": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"}, {}, "timeout", "no whole answer within 0.1s"),
        ({"answer": b"nonsense\r\n\r\n"}, {}, "connection", "no HTTP/1.1"),
    ],
)
def test_down(prepare, job, code, says):
    def before(target):
        for name, value in prepare.items():
            setattr(target, name, value)

    found, receiver, target = one_scrape(prepare.get("answer", "a 1\n"), before, **job)
    assert set(found) == SELF
    assert found["up"] == found["scrape_samples_post_metric_relabeling"] == found["scrape_series_added"] == 0
    loop = loop_of(receiver, target.address)
    assert loop.health == "down"
    assert says in loop.last_error
    assert receiver.context.meter.sums["hawse_scrapes_failed", code] >= 1


def test_nothing_listens(caplog):
    async def run():
        async with targets() as (target,):
            address = target.address
        async with running(scraping(address)) as receiver:
            await receiver.sink.until(lambda: len(receiver.sink.scrapes) > 3)
            return address, receiver

    address, receiver = asyncio.run(run())
    assert receiver.sink.of("up")[:3] == [0, 0, 0]
    (told,) = [record.getMessage() for record in caplog.records]  # once, not at every scrape
    assert told == (
        f"http://{address}/metrics (job test) is down (connection): "
        f"cannot connect to {address}: connection refused; nothing listens there"
    )


def test_a_content_type_that_is_given_by_the_job():
    found, _, _ = one_scrape(
        "a 1\n", lambda one: setattr(one, "kind", ""), fallback_scrape_protocol="PrometheusText0.0.4"
    )
    assert found["a"] == 1


def test_an_empty_body_is_a_good_scrape():
    found, _, _ = one_scrape("", lambda one: setattr(one, "kind", ""))
    assert (found["up"], found["scrape_samples_scraped"]) == (1, 0)


def test_extra_metrics():
    found, _, _ = one_scrape("a 1\n", extra_scrape_metrics=True, sample_limit=5, timeout="50ms")
    assert (found["scrape_timeout_seconds"], found["scrape_sample_limit"]) == (0.05, 5)
    assert found["scrape_body_size_bytes"] == 4
    found, _, _ = one_scrape("a 1\n" * 30, receiver={"report_extra_scrape_metrics": True}, body_size_limit=100)
    assert found["scrape_body_size_bytes"] == -1


def test_metric_rules_limits_behind_them_and_external_labels():
    async def run():
        async with targets() as (target,):
            target.answer = "a_x 1\nb 2\nc 3\n"
            config = scraping(
                target.address,
                sample_limit=2,
                metric_relabel_configs=[
                    {"source_labels": ["__name__"], "regex": "c", "action": "drop"},
                    {
                        "source_labels": ["__name__"],
                        "regex": "(.)_x",
                        "target_label": "__name__",
                        "replacement": "$${1}",
                    },
                    {"source_labels": ["job"], "target_label": "where", "replacement": "here"},
                ],
            )
            global_ = type(config.config.global_)(external_labels={"cluster": "c", "where": "else"})
            config = replaced(config, config=replaced(config.config, global_=global_))
            async with running(config) as receiver:
                await receiver.sink.until(lambda: receiver.sink.scrapes)
                return receiver.sink.scrapes[0]

    points = {point.name: point for point in asyncio.run(run())}
    assert set(points) == {"a", "b", *SELF}
    assert points["a"].labels.items() >= {"cluster": "c", "where": "here"}.items()
    assert points["up"].labels.items() >= {"cluster": "c", "where": "else"}.items()
    assert points["scrape_samples_scraped"].value == 3
    assert points["scrape_samples_post_metric_relabeling"].value == 2


def replaced(struct, **fields):
    import msgspec

    return msgspec.structs.replace(struct, **fields)


def test_a_failed_scrape_marks_all_series_stale_and_the_next_brings_them_back():
    async def run():
        async with targets() as (target,):
            async with running(scraping(target.address)) as receiver:
                sink = receiver.sink
                await sink.until(lambda: len(sink.of("a")) >= 2)
                target.answer = "a 1\nb{ 2\n"
                await sink.until(lambda: None in sink.of("a"))
                await sink.until(lambda: sink.of("up")[-1] == 0 and len(sink.of("up")) > 4)
                target.answer = "a 5\n"
                await sink.until(lambda: sink.of("a")[-1] == 5)
                return sink

    sink = asyncio.run(run())
    values = sink.of("a")
    assert values.count(None) == 1  # once, not at each failure
    first_down = sink.of("up").index(0.0)
    assert values[first_down] is None
    back = next(scrape for scrape in sink.scrapes if any(point.value == 5 for point in scrape))
    assert {point.name: point.value for point in back}["scrape_series_added"] == 0  # it was known, as in Prometheus


def test_a_series_that_vanishes():
    async def run():
        async with targets() as (target,):
            target.answer = "a 1\nb 2\n"
            async with running(scraping(target.address)) as receiver:
                sink = receiver.sink
                await sink.until(lambda: sink.of("b"))
                target.answer = "a 1\n"
                await sink.until(lambda: None in sink.of("b"))
                await sink.until(lambda: len(sink.scrapes) > 5)
                return sink

    sink = asyncio.run(run())
    assert sink.of("b").count(None) == 1
    assert None not in sink.of("a")


# --- what comes next in the pipeline ------------------------------------------------------------------------------


def test_a_busy_pipeline_is_waited_for_and_the_gap_counted(monkeypatch):
    async def run():
        async with targets(2) as (one, other):
            one.answer, other.answer = "a 1\n", "b 1\n"
            async with running(scraping(one.address, other.address, interval="100ms")) as receiver:
                sink = receiver.sink
                await sink.until(lambda: len(sink.scrapes) >= 4)
                blocked = asyncio.Event()

                async def busy_for_one():
                    blocked.set()
                    return Busy("full", retry_after=0.6)

                sink.answers = [busy_for_one()]
                await blocked.wait()
                before = len(sink.of("a")), len(sink.of("b"))
                requests = len(one.heads), len(other.heads)
                await asyncio.sleep(0.45)
                held = [b - a for a, b in zip(requests, (len(one.heads), len(other.heads)), strict=True)]
                await sink.until(lambda: min(len(sink.of("a")) - before[0], len(sink.of("b")) - before[1]) >= 2)
                return sorted(held), receiver

    held, receiver = asyncio.run(run())
    assert held[0] <= 1 and held[1] >= 3  # one of them is not asked, the other is
    assert receiver.context.meter.sums["hawse_scrapes_missed", "downstream"] >= 3
    assert receiver.manager._memory.budget.used == 0


def test_what_is_refused_is_told_and_the_next_scrape_goes_on(caplog):
    async def run():
        async with targets() as (target,):
            async with running(scraping(target.address)) as receiver:
                receiver.sink.answers = [Refused("no such tenant")]
                await receiver.sink.until(lambda: len(receiver.sink.scrapes) >= 2)

    asyncio.run(run())
    assert "was refused: no such tenant" in caplog.text


def test_stop_waits_for_what_was_read_and_marks_nothing():
    async def run():
        async with targets(2) as (quick, slow):

            async def never(reader, writer, head):
                await asyncio.sleep(30)

            slow.answer = never
            config = scraping(quick.address, slow.address, interval="200ms")
            async with running(config) as receiver:
                sink = receiver.sink
                await sink.until(lambda: sink.of("up", instance=quick.address) and slow.heads)
                blocked, go = asyncio.Event(), asyncio.Event()

                async def wait():
                    blocked.set()
                    await go.wait()

                sink.answers = [wait()]
                await blocked.wait()
                stopping = asyncio.ensure_future(receiver.stop())
                await asyncio.sleep(0.1)
                assert not stopping.done()
                count = len(sink.scrapes)
                go.set()
                await asyncio.wait_for(stopping, 2)
                assert len(sink.scrapes) == count + 1  # what was read; of the slow one nothing
                return sink

    sink = asyncio.run(run())
    assert all(point.value is not None for scrape in sink.scrapes for point in scrape)


def test_a_bug_in_reading_one_target_is_told_and_ends_nothing(monkeypatch):
    from hawse.codecs.exposition import Exposition

    real = Exposition.read

    async def broken(self, body, content_type, at):
        if b"poison" in body:
            raise ZeroDivisionError("a bug")
        return await real(self, body, content_type, at)

    monkeypatch.setattr(Exposition, "read", broken)

    async def run():
        async with targets(2) as (one, other):
            one.answer = "poison 1\n"
            async with running(scraping(one.address, other.address)) as receiver:
                await receiver.sink.until(lambda: len(receiver.sink.scrapes) >= 6)
                return loop_of(receiver, one.address).last_error, loop_of(receiver, other.address).health

    assert asyncio.run(run()) == ("a bug, please report it: ZeroDivisionError: a bug", "up")


def test_stop_ends_when_the_service_waits_no_longer(caplog):
    async def run():
        async with targets() as (target,):
            async with running(scraping(target.address), stop=False) as receiver:
                sink = receiver.sink
                await sink.until(lambda: sink.scrapes)
                blocked = asyncio.Event()

                async def full():
                    blocked.set()
                    return Busy("full", retry_after=60)

                sink.answers = [full()]
                await blocked.wait()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await receiver.stop()
                return receiver.context.meter.sums["hawse_scrapes_missed", "shutdown"]

    assert asyncio.run(run()) == 1
    assert "1 scrapes were not taken before the end" in caplog.text


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_targets_that_close_each_connection(version):
    """Python's http.server does, with HTTP/1.0; others when a connection was idle for long, without a word."""

    async def once(reader, writer, head):
        if version == "1.0":
            writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\na 1\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\na 1\n")
        await writer.drain()
        writer.close()
        raise ConnectionError

    receiver, (target,) = taken(scraping, 4, lambda one: setattr(one, "answer", once))
    assert set(receiver.sink.of("up")) == {1}
    assert target.connections >= 4


def test_a_target_of_protobuf():
    """As the official client libraries of Go and Java have it: a varint before each MetricFamily."""
    gauge = b"\x0a\x01a" + b"\x18\x01" + b"\x22\x0b\x12\x09\x09" + b"\x00\x00\x00\x00\x00\x00\x08\x40"
    body = bytes([len(gauge)]) + gauge
    kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    found, _, target = one_scrape("", lambda one: setattr(one, "answer", head + body), scrape_native_histograms=True)
    assert found["a"] == 3
    assert target.header("accept").startswith("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily")
