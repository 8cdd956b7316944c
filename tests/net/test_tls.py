"""TLS both ways, with certificates made for the test."""

import asyncio
import os
import re
import shutil

import pytest

from hawse.component import Busy
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, ServerConfig, TLSClient, TLSServer
from hawse.values import Duration, Secret

from .certificates import make

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pki"))


def talk(pki, client_tls, *, host="localhost", scheme="https", body=b"hello", **server_tls):
    async def echo(request):
        return Response(200, request.body)

    async def run():
        servers = HttpServers()
        tls = TLSServer(cert_file=str(pki / "server.pem"), key_file=str(pki / "server.key"), **server_tls)
        port = await servers.mount(ServerConfig(endpoint="localhost:0", tls=tls), {("POST", "/"): echo}, owner="test")
        client = HttpClient(ClientConfig(endpoint=f"{scheme}://{host}:{port}", tls=client_tls))
        try:
            return (await client.request("POST", "/", body)).body
        finally:
            await client.close()
            await servers.close()

    return asyncio.run(run())


def test_trusted_by_its_ca(pki):
    body = os.urandom(3_000_000)
    assert talk(pki, TLSClient(ca_file=str(pki / "ca.pem")), body=body) == body
    assert talk(pki, TLSClient(insecure_skip_verify=True)) == b"hello"
    assert talk(pki, TLSClient(ca_file=str(pki / "ca.pem"), min_version="1.3")) == b"hello"


@pytest.mark.parametrize(
    ("tls", "options", "says"),
    [
        (TLSClient(), {}, "its certificate is not trusted"),
        ({"server_name_override": "other"}, {}, "certificate is not valid for 'other'"),
        ({"max_version": "1.2"}, {"min_version": "1.3"}, "reset within the TLS handshake"),
        ({}, {"client": True}, "does it demand a client certificate"),
        ({}, {"scheme": "http"}, "ended before an answer"),
    ],
)
def test_not_trusted(pki, tls, options, says):
    if isinstance(tls, dict):
        tls = TLSClient(ca_file=str(pki / "ca.pem"), **tls)
    if options.pop("client", False):
        options = {"client_ca_file": str(pki / "ca.pem")}
    with pytest.raises(Busy, match=re.compile(says, re.IGNORECASE)) as caught:
        talk(pki, tls, **options)
    assert "localhost:" in caught.value.reason


def test_client_certificates(pki):
    ca = str(pki / "ca.pem")
    client = TLSClient(ca_file=ca, cert_file=str(pki / "client.pem"), key_file=str(pki / "client.key"))
    assert talk(pki, client, client_ca_file=ca) == b"hello"


def test_certificates_in_the_configuration_itself(pki):
    ca, cert = (pki / "ca.pem").read_text(), (pki / "client.pem").read_text()
    key = Secret((pki / "client.key").read_text())
    assert talk(pki, TLSClient(ca_pem=ca)) == b"hello"
    own = TLSClient(ca_pem=ca, cert_pem=cert, key_pem=key)
    assert talk(pki, own, client_ca_file=str(pki / "ca.pem")) == b"hello"
    mixed = TLSClient(ca_pem=ca, cert_file=str(pki / "client.pem"), key_pem=key)
    assert talk(pki, mixed, client_ca_file=str(pki / "ca.pem")) == b"hello"
    for tls, says in (
        (TLSClient(ca_pem="nonsense"), "tls.ca_pem: there are no usable CA certificates in it"),
        (TLSClient(cert_pem=cert, key_pem=Secret("x")), "tls.cert_file: what is written here and what is written here"),
    ):
        with pytest.raises(HawseError, match=says):
            HttpClient(ClientConfig(endpoint="https://localhost:1", tls=tls))
    (both,) = TLSClient(ca_file="x", ca_pem="y").problems()
    assert both.path == "ca_pem"
    (alone,) = TLSClient(key_pem=key).problems()
    assert alone.path == "cert_pem"


def test_an_authority_that_was_renewed_in_place_is_used(pki, tmp_path):
    ca = tmp_path / "ca.pem"
    other = tmp_path / "other"
    other.mkdir()
    make(other)
    shutil.copy(other / "ca.pem", ca)

    async def echo(request):
        return Response(200, request.body)

    async def run():
        servers = HttpServers()
        tls = TLSServer(cert_file=str(pki / "server.pem"), key_file=str(pki / "server.key"))
        port = await servers.mount(ServerConfig(endpoint="localhost:0", tls=tls), {("POST", "/"): echo}, owner="test")
        client = HttpClient(ClientConfig(endpoint=f"https://localhost:{port}", tls=TLSClient(ca_file=str(ca))))
        try:
            with pytest.raises(Busy, match="not trusted"):
                await client.request("POST", "/", b"hello")
            ca.write_text("half of i")
            assert client.renew_tls() == []
            shutil.copy(pki / "ca.pem", ca)
            assert client.renew_tls() == ["tls.ca_file"]
            return (await client.request("POST", "/", b"hello")).body
        finally:
            await client.close()
            await servers.close()

    assert asyncio.run(run()) == b"hello"


def test_files_that_cannot_be_used_are_named(pki, tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for tls, says in (
        (TLSClient(ca_file="/nowhere/ca.pem"), r"tls.ca_file: cannot read /nowhere/ca.pem: No such file.*mounted"),
        (TLSClient(ca_file=str(broken)), "holds no usable CA certificates"),
        (
            TLSClient(cert_file=str(pki / "client.pem"), key_file=str(pki / "server.key")),
            "no usable certificate and key",
        ),
        (TLSClient(cert_file=str(broken), key_file=str(broken)), "no usable certificate and key"),
    ):
        with pytest.raises(HawseError, match=says):
            HttpClient(ClientConfig(endpoint="https://localhost:1", tls=tls))
    (problem,) = TLSClient(cert_file="x").problems()
    assert problem.path == "key_file"


def test_a_shared_socket_needs_the_same_tls(pki):
    async def run():
        async def nothing(request):
            return Response()

        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="localhost:0"), {("GET", "/a"): nothing}, owner="a")
        tls = TLSServer(cert_file=str(pki / "server.pem"), key_file=str(pki / "server.key"))
        try:
            with pytest.raises(HawseError, match="b and a share localhost:.*tls settings differ"):
                shared = ServerConfig(endpoint=f"localhost:{port}", tls=tls)
                await servers.mount(shared, {("GET", "/b"): nothing}, owner="b")
        finally:
            await servers.close()

    asyncio.run(run())


def test_a_client_certificate_that_was_renewed_in_place_is_used(pki, tmp_path):
    """What the server refuses at first it takes once the files hold what it trusts."""
    other = tmp_path / "other"
    other.mkdir()
    make(other)
    files = {name: tmp_path / name for name in ("client.pem", "client.key")}
    for name, path in files.items():
        shutil.copy(other / name, path)

    async def echo(request):
        return Response(200, request.body)

    async def run():
        servers = HttpServers()
        tls = TLSServer(
            cert_file=str(pki / "server.pem"), key_file=str(pki / "server.key"), client_ca_file=str(pki / "ca.pem")
        )
        port = await servers.mount(ServerConfig(endpoint="localhost:0", tls=tls), {("POST", "/"): echo}, owner="test")
        own = TLSClient(
            ca_file=str(pki / "ca.pem"), cert_file=str(files["client.pem"]), key_file=str(files["client.key"])
        )
        client = HttpClient(ClientConfig(endpoint=f"https://localhost:{port}", tls=own))
        try:
            with pytest.raises(Busy):
                await client.request("POST", "/", b"hello")
            assert client.renew() == []
            files["client.key"].write_bytes((pki / "client.key").read_bytes())
            assert client.renew() == []  # half of it is no use yet
            files["client.pem"].write_bytes((pki / "client.pem").read_bytes())
            assert client.renew() == ["tls.cert_file", "tls.key_file"]
            return (await client.request("POST", "/", b"hello")).body
        finally:
            await client.close()
            await servers.close()

    assert asyncio.run(run()) == b"hello"


def test_silent_clients_do_not_keep_others_from_their_handshake(pki, monkeypatch):
    """Half-open ones: each would take hundreds of kilobytes before a byte of it is read."""
    monkeypatch.setattr("hawse.net.handshakes.MOST", 5)
    monkeypatch.setattr("hawse.net.handshakes._YOUNG", 0.1)

    async def echo(request):
        return Response(200, request.body)

    async def run():
        refused = []
        servers = HttpServers(refused=refused.append)
        tls = TLSServer(cert_file=str(pki / "server.pem"), key_file=str(pki / "server.key"))
        settings = ServerConfig(endpoint="127.0.0.1:0", tls=tls, read_header_timeout=Duration(2))
        port = await servers.mount(settings, {("POST", "/"): echo}, owner="test")
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        await asyncio.sleep(0.2)
        turned_away = len(refused)
        client = HttpClient(
            ClientConfig(endpoint=f"https://127.0.0.1:{port}", tls=TLSClient(ca_file=str(pki / "ca.pem")))
        )
        try:
            answer = (await client.request("POST", "/", b"hello")).body
            ended = 0
            for reader, _ in silent:
                try:
                    ended += await asyncio.wait_for(reader.read(), 5) == b""
                except ConnectionError:
                    ended += 1
            return turned_away, answer, len(refused), ended
        finally:
            for _, writer in silent:
                writer.close()
            await client.close()
            await servers.close()

    assert asyncio.run(run()) == (3, b"hello", 4, 8)
