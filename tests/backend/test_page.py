import asyncio
import re
import shutil
import subprocess
from importlib.resources import files

import pytest

from hawse.backend.server import Backend

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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_hostile_records_are_shown_as_text_in_a_browser(send, record, tmp_path):
    def browse(url):
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        more = "--disable-component-update --disable-sync --virtual-time-budget=3000 --dump-dom"
        command = ["chromium", *flags.split(), *more.split(), f"--user-data-dir={tmp_path}", url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

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
