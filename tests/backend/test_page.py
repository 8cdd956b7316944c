import asyncio
import re
import shutil
import subprocess
import time
from importlib.resources import files
from urllib.parse import quote

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from hawse.backend.server import Backend
from hawse.codecs.span_writer import scope_spans, span
from hawse.wire import encode_attributes, field

PAGE = files("hawse.backend") / "page"
SCRIPTS = sorted(one.name for one in PAGE.iterdir() if one.name.endswith(".js"))
HOSTILE = [
    '<img src=x onerror="document.title=`pwned`">',
    "<script>document.title='pwned'</script>",
    "</bdi></pre><svg onload=document.title='pwned'>",
    "javascript:document.title='pwned'",
    '"><iframe srcdoc="<script>parent.document.title=1</script>">',
]


def test_the_page_and_all_it_needs_are_served_with_a_strict_policy(call):
    async def run():
        async with Backend() as backend:
            reply = await call("GET", backend.url + "/")
            assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
            html = reply.body.decode()
            for path in ["/", *re.findall(r'(?:src|href)="(/[^"]+)"', html), *(f"/{name}" for name in SCRIPTS)]:
                reply = await call("GET", backend.url + path)
                assert reply.status == 200, path
                assert reply.headers["x-content-type-options"] == "nosniff"
                if not path.startswith("/api/"):
                    policy = reply.headers["content-security-policy"]
                    assert "default-src 'none'" in policy
                    assert "script-src 'self';" in policy
                    assert "unsafe" not in policy
            return html

    html = asyncio.run(run())
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", html)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_markup_of_text(name):
    script = (PAGE / name).read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|DOMParser|srcdoc"
    assert not re.search(forbidden, script)
    for module in re.findall(r'from "\./([^"]+)"', script):
        assert module in SCRIPTS


def test_only_names_of_this_machine_are_answered_on_loopback(call):
    async def run():
        async with Backend() as backend:
            url = backend.url + "/api/v1/status"
            for host, status in [
                (f"localhost:{backend.port}", 200),
                ("127.0.0.1", 200),
                ("[::1]:80", 200),
                ("evil.example", 403),
                (f"127.0.0.1.evil.example:{backend.port}", 403),
            ]:
                assert (await call("GET", url, headers={"host": host})).status == status, host
            assert (await call("GET", url, headers={"sec-fetch-site": "cross-site"})).status == 403
            assert (await call("GET", url, headers={"sec-fetch-site": "same-origin"})).status == 200
            assert (await call("POST", backend.url + "/", b"x", {"host": "evil.example"})).status == 200
        async with Backend("0.0.0.0:0") as backend:
            url = f"http://127.0.0.1:{backend.port}/api/v1/status"
            assert (await call("GET", url, headers={"host": "hawse-backend.logging.svc:8088"})).status == 200

    asyncio.run(run())


def test_answers_are_json_whatever_they_hold(call, send, record):
    async def run():
        async with Backend() as backend:
            await send(
                backend.url, {HOSTILE[0]: HOSTILE[1]}, [record(body, attributes={body: body}) for body in HOSTILE]
            )
            for path in (
                "logs/search",
                "logs/tail",
                "fields",
                "status",
                "logs/rates?from=-1h",
                "logs/values?field=" + "a",
            ):
                reply = await call("GET", f"{backend.url}/api/v1/{path}")
                assert (reply.status, reply.headers["content-type"]) == (200, "application/json; charset=utf-8"), path
                assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert [r["body"] for r in await backend.records()] == HOSTILE

    asyncio.run(run())


@pytest.fixture
def browse(tmp_path):
    """What Chromium makes of an address, as HTML."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")

    def browsing(url):
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        more = "--disable-component-update --disable-sync --virtual-time-budget=3000 --dump-dom"
        command = ["chromium", *flags.split(), *more.split(), f"--user-data-dir={tmp_path}", url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    return browsing


def test_hostile_records_are_shown_as_text_in_a_browser(browse, send, record):
    async def run():
        async with Backend() as backend:
            resource = {"_sourceName": HOSTILE[0], HOSTILE[1]: HOSTILE[2], "log.iostream": "stderr"}
            await send(backend.url, resource, [record(body, attributes={body: body}) for body in HOSTILE])
            return await asyncio.to_thread(browse, backend.url + "/?record=2&f=" + "_sourceName%3D.%2B")

    html = asyncio.run(run())
    assert "<title>Hawse backend</title>" in html
    assert "Record 2" in html
    assert html.count("&lt;img src=x onerror=") >= 3  # the source's name, in the list and in the record
    assert "&lt;script&gt;document.title='pwned'&lt;/script&gt;" in html
    assert not re.search(r"<img src=.?x|<iframe|<svg onload|<script>", html)
    assert '<div class="notice" id="notice" role="alert" hidden="">' in html, "the page complains of nothing"


def test_metrics_are_plotted_in_a_browser_and_hostile_ones_are_text(browse, call):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key=HOSTILE[1]).value.string_value = HOSTILE[2]
    metric = group.scope_metrics.add().metrics.add(name=HOSTILE[0], description=HOSTILE[4], unit=HOSTILE[3])
    now = time.time_ns()
    for number, code in enumerate(("200", HOSTILE[0])):
        for age in range(20):
            point = metric.gauge.data_points.add(time_unix_nano=now - age * 10**9, as_double=number * 40 + age)
            point.attributes.add(key="code").value.string_value = code

    async def run():
        async with Backend() as backend:
            body = request.SerializeToString()
            reply = await call("POST", backend.url + "/v1/metrics", body, {"content-type": "application/x-protobuf"})
            assert reply.status == 200
            chosen = await asyncio.to_thread(browse, f"{backend.url}/?metric={quote(HOSTILE[0])}#metrics")
            wrong = await asyncio.to_thread(browse, f"{backend.url}/?metric=a&label={quote('b=~[')}#metrics")
            return chosen, wrong

    chosen, wrong = asyncio.run(run())
    assert "2 series" in chosen
    lines = re.findall(r'<path class="series c\d" d="M([^"]*)"', chosen)
    assert len(lines) == 2
    assert all(line.count("L") >= 15 for line in lines)
    assert chosen.count("&lt;img src=x onerror=") >= 3  # the name, the chosen name, the legend
    assert not re.search(r"<img src=.?x|<iframe|<svg onload|<script>", chosen)
    assert '<div class="notice" id="notice" role="alert" hidden="">' in chosen, "the page complains of nothing"
    assert "is no regular expression" in re.search(r'id="notice" role="alert">([^<]*)', wrong)[1]


def test_a_trace_is_drawn_in_a_browser_and_hostile_ones_are_text(browse, call, send, record):
    now = time.time_ns()
    trace_id, ids = bytes(15) + b"\x01", [bytes(7) + bytes((n + 1,)) for n in range(6)]

    def one(number, parent, start, took, **more):
        name = HOSTILE[0] if number == 0 else f"step {number}"
        told = {"start": now + start * 10**6, "end": now + (start + took) * 10**6, **more}
        parent_id = ids[parent] if parent is not None else b""
        return span(trace_id=trace_id, span_id=ids[number], parent_span_id=parent_id, name=name, kind=2, **told)

    spans = [
        one(0, None, 0, 100, attributes={HOSTILE[1]: HOSTILE[2]}, events=[(now, HOSTILE[4], {"a": HOSTILE[0]})]),
        one(2, 1, 30, 10),
        one(1, 0, 20, 50, status=(2, "failed")),
        one(3, 4, 40, 5),  # these two are each other's parents
        one(4, 3, 41, 5),
        one(5, 5, 60, 5),
    ]
    lost = span(
        trace_id=trace_id, span_id=b"lostlost", parent_span_id=b"nobodyis", name="lost", kind=1, start=now, end=now
    )
    many = [
        span(trace_id=b"m" * 16, span_id=n.to_bytes(8, "big"), parent_span_id=(n // 2).to_bytes(8, "big"), name=f"n{n}",
             kind=1, start=now + n, end=now + 10_000 - n)
        for n in range(1, 5000)
    ]  # fmt: skip
    resource = field(1, encode_attributes({"service.name": HOSTILE[0]}))
    body = b"".join(field(1, resource + scope_spans(some)) for some in ([*spans, lost], many))

    async def run():
        async with Backend() as backend:
            reply = await call("POST", backend.url + "/v1/traces", body, {"content-type": "application/x-protobuf"})
            assert reply.status == 200
            await send(backend.url, {"_sourceName": "s"}, [record(f"trace_id={trace_id.hex()} {HOSTILE[0]}", now)])
            chosen = f"{backend.url}/?trace={trace_id.hex()}&span={ids[0].hex()}#traces"
            large = f"{backend.url}/?trace={(b'm' * 16).hex()}#traces"
            return [await asyncio.to_thread(browse, url) for url in (f"{backend.url}/#traces", chosen, large)]

    listed, chosen, large = asyncio.run(run())
    for html in (listed, chosen, large):
        assert "<title>Hawse backend</title>" in html
        assert '<div class="notice" id="notice" role="alert" hidden="">' in html, "the page complains of nothing"
        assert "&lt;img src=x onerror=" in html
        assert not re.search(r"<img src=.?x|<iframe|<svg onload|<script>", html)
    assert len(re.findall(r'class="trace [^"]*" href="\?trace=', listed)) == 2
    rows = re.findall(
        r'class="w-row ([^"]*)" role="treeitem" data-at="(\d+)" aria-level="(\d+)" title="([^"]*)"', chosen
    )
    drawn = [
        (int(level), re.search(r"step \d|lost$|<?img", title.split("\n")[0].split(": ", 1)[1]))
        for _, _, level, title in rows
    ]
    assert [(level, found[0] if found else "") for level, found in drawn] == [
        (1, "img"), (2, "step 1"), (3, "step 2"), (1, "lost"), (1, "step 5"), (1, "step 3"), (2, "step 4"),
    ]  # fmt: skip
    assert "failed" in rows[1][0]
    assert "is missing" in rows[3][3]
    assert "its own parent" in rows[4][3]
    assert "in a circle" in rows[5][3]
    drawer = chosen[chosen.index('id="span-drawer"') :]
    assert "&lt;script&gt;document.title='pwned'&lt;/script&gt;" in drawer
    assert "Events" in drawer
    assert "1 name this trace" in chosen
    assert 20 < large.count('role="treeitem"') < 100, "only what can be seen is drawn"
    assert "4,999 spans" in large
