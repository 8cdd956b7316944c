"""HTTP as Prometheus speaks it, against servers that do as they are told."""

import asyncio
import base64
import gzip
import json
import shutil
import ssl
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import pytest

from hawse.prometheus.http import FetchError, ScrapeClient
from hawse.prometheus.http_settings import Authorization, BasicAuth, Header, HttpClientSettings, OAuth2, TLSConfig
from hawse.values import Secret
from tests.net.certificates import make


@asynccontextmanager
async def serving(answer, context=None):
    """A server; `answer(head, body)` gives the bytes of an answer. Yields its base URL and the heads that it got."""
    heads, tasks = [], set()

    async def run(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int((head.lower().partition("content-length: ")[2] or "0").split("\r\n")[0])
                heads.append(head)
                made = answer(head, await reader.readexactly(length))
                writer.write(made if isinstance(made, bytes) else ok(made))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}", heads
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def ok(body, *headers, status="200 OK"):
    data = body if isinstance(body, bytes) else body.encode()
    lines = "".join(f"{line}\r\n" for line in (f"content-length: {len(data)}", *headers))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + data


def header(head, name):
    return next((line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith(f"{name}: ")), None)


def fetched(settings, answer, *, limit=1 << 20, timeout=5.0, path="/", times=1, context=None, between=lambda n: None):
    """Bodies of so many GETs, or the error of one, and the heads that the server got."""

    async def run():
        async with serving(answer, context) as (base, heads):
            client = ScrapeClient(settings)
            found = []
            try:
                for number in range(times):
                    between(number)
                    try:
                        made = await client.get(base + path, {"accept": "x"}, timeout=timeout, limit=limit)
                        found.append(bytes(made.body))
                    except FetchError as error:
                        found.append(error)
            finally:
                await client.close()
            return found, heads

    return asyncio.run(run())


def shown(settings, **options):
    (_, heads) = fetched(settings, lambda head, body: "ok", **options)
    return header(heads[0], "authorization")


# --- credentials ----------------------------------------------------------------------------------------------------


def test_credentials(tmp_path):
    (tmp_path / "user").write_text("u2\n")
    (tmp_path / "word").write_text(" p:2 \n")
    basic = HttpClientSettings(basic_auth=BasicAuth(username="u", password=Secret("pä")))
    assert base64.b64decode(shown(basic).removeprefix("Basic ")).decode() == "u:pä"
    files = BasicAuth(username_file=str(tmp_path / "user"), password_file=str(tmp_path / "word"))
    assert base64.b64decode(shown(HttpClientSettings(basic_auth=files)).removeprefix("Basic ")) == b"u2:p:2"
    assert shown(HttpClientSettings(authorization=Authorization(credentials=Secret("t")))) == "Bearer t"
    own = Authorization(type="Token", credentials_file=str(tmp_path / "user"))
    assert shown(HttpClientSettings(authorization=own)) == "Token u2"
    assert shown(HttpClientSettings(bearer_token=Secret("b"))) == "Bearer b"
    assert shown(HttpClientSettings()) is None


def test_a_token_in_a_file_is_read_for_every_request(tmp_path):
    token = tmp_path / "token"
    settings = HttpClientSettings(bearer_token_file=str(token))

    def between(number):
        if number < 2:
            token.write_text(f"t{number}\n")
        else:
            token.unlink()

    found, heads = fetched(settings, lambda head, body: "ok", times=3, between=between)
    assert [header(head, "authorization") for head in heads] == ["Bearer t0", "Bearer t1"]
    assert found[2].code == "credentials"
    assert str(found[2]) == f"cannot read {token}: No such file or directory; check that it is mounted and readable"


def test_headers_of_ones_own(tmp_path):
    (tmp_path / "h").write_text("from file\n")
    headers = {"X-A": Header(values=("1",), secrets=(Secret("2"),), files=(str(tmp_path / "h"),))}
    _, heads = fetched(HttpClientSettings(http_headers=headers), lambda head, body: "ok")
    assert header(heads[0], "x-a") == "1, 2, from file"
    assert header(heads[0], "accept") == "x"


def oauth2(base, **more):
    return HttpClientSettings(oauth2=OAuth2(client_id="me:1", token_url=f"{base}/token", **more))


def test_oauth2():
    """A token is fetched once, with the secret in the header, and again before it expires or where it is refused."""
    given = []

    def answer(head, body):
        if head.startswith("POST /token"):
            given.append((head, parse_qs(body.decode())))
            return json.dumps({"access_token": f"t{len(given)}", "token_type": "bearer", "expires_in": 3600})
        if header(head, "authorization") == "Bearer t2":
            return "second"
        return ok("", status="401 Unauthorized") if len(given) > 1 or "old" in head else "first"

    async def run():
        async with serving(answer) as (base, heads):
            settings = oauth2(base, client_secret=Secret("s+"), scopes=("a", "b"), endpoint_params={"audience": "x"})
            client = ScrapeClient(settings)
            try:
                bodies = [(await client.get(base, {}, timeout=5, limit=9)).body for _ in range(3)]
                with pytest.raises(FetchError, match="401"):
                    await client.get(base + "/old", {}, timeout=5, limit=9)
                bodies.append((await client.get(base, {}, timeout=5, limit=9)).body)
                return bodies, [header(head, "authorization") for head in heads if head.startswith("GET")]
            finally:
                await client.close()

    bodies, shown = asyncio.run(run())
    assert bodies == [b"first"] * 3 + [b"second"]
    assert shown == ["Bearer t1"] * 4 + ["Bearer t2"]
    assert len(given) == 2
    head, form = given[0]
    assert base64.b64decode(header(head, "authorization").removeprefix("Basic ")) == b"me%3A1:s%2B"
    assert form == {"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["x"]}


def test_oauth2_expiry_is_reckoned_with():
    count = 0

    def answer(head, body):
        nonlocal count
        if head.startswith("POST"):
            count += 1
            return json.dumps({"access_token": f"t{count}", "expires_in": 10})  # within what is "early"
        return header(head, "authorization")

    async def run():
        async with serving(answer) as (base, _):
            client = ScrapeClient(oauth2(base))
            try:
                return [(await client.get(base, {}, timeout=5, limit=99)).body for _ in range(2)]
            finally:
                await client.close()

    assert asyncio.run(run()) == [b"Bearer t1", b"Bearer t2"]


def test_oauth2_with_the_secret_in_the_form(tmp_path):
    secret = tmp_path / "secret"
    forms = []

    def answer(head, body):
        if head.startswith("POST"):
            forms.append(parse_qs(body.decode()))
            if "client_secret" not in forms[-1]:
                return ok("{}", status="401 Unauthorized")
            return json.dumps({"access_token": forms[-1]["client_secret"][0]})
        return header(head, "authorization")

    async def run():
        async with serving(answer) as (base, _):
            client = ScrapeClient(oauth2(base, client_secret_file=str(secret)))
            try:
                found = []
                for word in ("one", "one", "two"):
                    secret.write_text(word)
                    found.append((await client.get(base, {}, timeout=5, limit=99)).body)
                return found
            finally:
                await client.close()

    assert asyncio.run(run()) == [b"Bearer one", b"Bearer one", b"Bearer two"]
    assert len(forms) == 3  # the first try, then in the form at once


def test_oauth2_that_refuses_is_not_asked_by_every_target():
    asked = 0

    def answer(head, body):
        nonlocal asked
        asked += 1
        return ok('{"error": "invalid_client"}', status="403 Forbidden")

    async def run():
        async with serving(answer) as (base, _):
            client = ScrapeClient(oauth2(base))
            try:
                errors = await asyncio.gather(
                    *(client.get(base, {}, timeout=5, limit=9) for _ in range(20)), return_exceptions=True
                )
            finally:
                await client.close()
            return {(error.code, str(error)) for error in errors}, base

    found, base = asyncio.run(run())
    ((code, message),) = found
    assert (asked, code) == (1, "credentials")
    assert message == (
        f'oauth2: {base}/token answered 403: {{"error": "invalid_client"}}; check client_id and client_secret'
    )


# --- redirects ------------------------------------------------------------------------------------------------------


def test_redirects_are_followed_on_the_same_host_with_credentials():
    def answer(head, body):
        if head.startswith("GET /end"):
            return header(head, "authorization")
        return ok("", "location: /end?a=b#c", status="307 Temporary Redirect")

    settings = HttpClientSettings(bearer_token=Secret("t"))
    found, heads = fetched(settings, answer)
    assert found == [b"Bearer t"]
    assert heads[1].startswith("GET /end?a=b HTTP/1.1")
    (error,), _ = fetched(HttpClientSettings(follow_redirects=False), answer)
    assert error.code == "http_status" and "307 Temporary Redirect" in str(error)


def test_no_credentials_for_another_host():
    async def run():
        async with serving(lambda head, body: header(head, "authorization") or "none") as (other, _):
            moved = ok("", f"location: {other}/x", status="302 Found")
            async with serving(lambda head, body: moved) as (base, _):
                client = ScrapeClient(HttpClientSettings(bearer_token=Secret("t")))
                try:
                    return (await client.get(base, {}, timeout=5, limit=9)).body
                finally:
                    await client.close()

    assert asyncio.run(run()) == b"none"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/", "more than 10 times"),
        ("ftp://x/", "is no HTTP URL"),
        ("http://x:99999/", "is no HTTP URL"),
        ("http://[/", "URL"),
    ],
)
def test_redirects_that_lead_nowhere(target, says):
    (error,), _ = fetched(HttpClientSettings(), lambda head, body: ok("", f"location: {target}", status="301 Moved"))
    assert error.code == "redirect"
    assert says in str(error)


# --- bodies ---------------------------------------------------------------------------------------------------------


def test_bodies_and_their_limit():
    zipped = gzip.compress(b"x" * 1000)
    for made in (ok("x" * 1000), ok(zipped, "content-encoding: gzip"), chunked([b"x" * 250] * 4)):
        found, _ = fetched(HttpClientSettings(), lambda head, body, made=made: made, limit=1000)
        assert found == [b"x" * 1000]
        (error,), _ = fetched(HttpClientSettings(), lambda head, body, made=made: made, limit=999)
        assert (error.code, str(error)) == ("body_size_limit", "the body has over 999 bytes (body_size_limit)")


def chunked(pieces):
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("made", "code", "says"),
    [
        (ok(b"this is no gzip", "content-encoding: gzip"), "malformed", "no valid gzip"),
        (ok(gzip.compress(b"x" * 99)[:-9], "content-encoding: gzip"), "malformed", "cut off"),
        (ok(b"?", "content-encoding: br"), "malformed", "content encoding 'br', which was not asked for"),
        (chunked([b"x"] * 20_000), "malformed", "chunks of fewer than 4 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nxx", "timeout", "within 0.2s"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx: " + b"y" * 600_000, "connection", "does not end"),
    ],
)
def test_bodies_that_are_no_use(made, code, says):
    (error,), _ = fetched(HttpClientSettings(), lambda head, body: made, timeout=0.2)
    assert error.code == code
    assert says in str(error)


def test_room_is_asked_for_before_a_body_grows():
    async def run():
        async with serving(lambda head, body: ok("x" * 3_000_000)) as (base, _):
            client = ScrapeClient(HttpClientSettings())
            asked = []

            async def room(size):
                asked.append(size)
                if size > 2_000_000:
                    raise FetchError("memory", "no room")

            try:
                with pytest.raises(FetchError, match="no room"):
                    await client.get(base, {}, timeout=5, limit=1 << 30, room=room)
            finally:
                await client.close()
            return asked

    asked = asyncio.run(run())
    assert asked == sorted(asked) and len(asked) < 12 and asked[-1] < 5_000_000


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificates with openssl")
    return make(tmp_path_factory.mktemp("pki"))


def server_context(pki, *, client=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    if client:
        context.load_verify_locations(pki / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls(pki):
    ca = str(pki / "ca.pem")
    text = {name: (pki / f"client.{end}").read_text() for name, end in (("cert", "pem"), ("key", "key"))}
    for tls, mutual, expected in (
        (TLSConfig(ca_file=ca), False, b"ok"),
        (TLSConfig(ca=(pki / "ca.pem").read_text()), False, b"ok"),
        (TLSConfig(ca_file=ca, server_name="localhost", min_version="TLS13"), False, b"ok"),
        (TLSConfig(insecure_skip_verify=True), False, b"ok"),
        (TLSConfig(ca_file=ca, cert_file=str(pki / "client.pem"), key_file=str(pki / "client.key")), True, b"ok"),
        (TLSConfig(ca_file=ca, cert=text["cert"], key=Secret(text["key"])), True, b"ok"),
        (TLSConfig(), False, "not trusted"),
        (TLSConfig(), False, "tls_config.ca_file"),
        (TLSConfig(ca_file=ca, server_name="other"), False, "not valid for 'other'"),
        (TLSConfig(ca_file=ca), True, "tls_config.cert_file"),
        (TLSConfig(ca_file="/nowhere"), False, "tls_config.ca_file: cannot read /nowhere: No such file"),
    ):
        context = server_context(pki, client=mutual)
        (found,), _ = fetched(HttpClientSettings(tls_config=tls), lambda head, body: "ok", context=context)
        if isinstance(expected, bytes):
            assert found == expected, tls
        else:
            assert expected in str(found), tls


def test_an_authority_that_comes_late_is_used(pki, tmp_path, monkeypatch):
    monkeypatch.setattr("hawse.prometheus.http._LOOK", 0.0)
    ca = tmp_path / "ca.pem"

    def between(number):
        if number == 1:
            ca.write_bytes((pki / "client.pem").read_bytes())  # the wrong one
        if number == 2:
            shutil.copy(pki / "ca.pem", ca)

    settings = HttpClientSettings(tls_config=TLSConfig(ca_file=str(ca)))
    found, _ = fetched(settings, lambda head, body: "ok", context=server_context(pki), times=3, between=between)
    assert [getattr(one, "code", one) for one in found] == ["tls", "connection", b"ok"]


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://no-such-host.invalid/", "connection", "cannot be resolved"),
        ("http://h:99999/", "url", "'http://h:99999/' is no HTTP URL"),
        ("http://[::1/", "url", "is no HTTP URL"),
        ("http://:80/", "url", "is no HTTP URL"),
        ("gopher://h/", "url", "is no HTTP URL"),
        ("http://a..b/", "connection", "not a host name"),
    ],
)
def test_what_cannot_be_asked(url, code, says):
    async def run():
        client = ScrapeClient(HttpClientSettings())
        try:
            with pytest.raises(FetchError) as caught:
                await client.get(url, {}, timeout=5, limit=9)
            return caught.value
        finally:
            await client.close()

    error = asyncio.run(run())
    assert error.code == code
    assert says in str(error)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"database is\naway"), ": database is away"),
        (gzip.compress(b"x" * 5000), ": " + "x" * 300),
        (b"no gzip", ""),
        (gzip.compress(b"x" * 10_000_000), ""),
    ],
)
def test_a_refusal_is_read_to_the_user_whatever_its_encoding(data, said):
    (error,), _ = fetched(
        HttpClientSettings(), lambda head, body: ok(data, "content-encoding: gzip", status="503 Service Unavailable")
    )
    assert str(error).endswith(f"answered HTTP status 503 Service Unavailable{said}")
