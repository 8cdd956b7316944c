"""Where the API server is and who we are; token files, exec plugins and certificates that change under us."""

import asyncio
import base64
import json
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from hawse.component import Connects, Reads
from hawse.demo.apiserver import DemoApi
from hawse.diagnostics import HawseError
from hawse.kube import access, credentials
from hawse.kube.access import Auth
from hawse.kube.client import KubeClient
from hawse.kube.errors import ApiError, Call
from hawse.kube.objects import PodObject
from hawse.net.settings import TLSServer

PODS = Call("", "v1", "pods")


async def list_once(made):
    client = KubeClient(made)
    try:
        return [page async for page in client.pages(PODS, PodObject)]
    finally:
        await client.close()


def finding(call):
    with pytest.raises(HawseError) as caught:
        call()
    return caught.value.findings[0]


# --- in a cluster


def test_in_cluster_addresses(monkeypatch):
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert access.of(Auth(), env).url == "https://10.0.0.1:443"
    assert access.of(Auth(), {**env, "KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"


def test_outside_a_cluster_the_remedy_is_named():
    found = finding(lambda: access.of(Auth(), {}))
    assert found.code == "HW501" and "auth_type: kubeConfig" in found.fix


def test_needs_in_a_cluster():
    found = list(access.needs(Auth()))
    assert [need for need in found if isinstance(need, Connects)][0].host == "kubernetes.default.svc"
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert {need.path for need in found if isinstance(need, Reads)} == {f"{folder}/token", f"{folder}/ca.crt"}
    assert [type(need) for need in access.needs(Auth("none"))] == [Connects]


def test_needs_with_a_kubeconfig(tmp_path):
    api = DemoApi()
    api.port = 16443
    file = api.kubeconfig(tmp_path / "config", tokenFile="t")
    found = list(access.needs(Auth("kubeConfig", "", str(file))))
    assert [(need.host, need.port) for need in found if isinstance(need, Connects)] == [("127.0.0.1", 16443)]
    assert {need.path for need in found if isinstance(need, Reads)} == {str(file), str(tmp_path / "t")}
    absent = list(access.needs(Auth("kubeConfig", "", str(tmp_path / "absent"))))
    assert [need.path for need in absent] == [str(tmp_path / "absent")]


def test_a_token_that_is_rotated_is_read_again(tmp_path):
    async def run():
        async with DemoApi(tokens={"one": "u"}) as api:
            token = tmp_path / "token"
            token.write_text("one\n")
            made = access.of(Auth("kubeConfig", "", str(api.kubeconfig(tmp_path / "c", tokenFile=str(token)))))
            await list_once(made)
            api.tokens = {"two": "u"}
            with pytest.raises(ApiError, match="401.*renew the token"):
                await list_once(made)
            token.write_text("two\n")
            await list_once(made)

    asyncio.run(run())


@pytest.mark.parametrize(("content", "says"), [(None, "does not exist"), ("", "empty"), ("\xff", "no text")])
def test_token_files_of_no_use(tmp_path, content, says):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, "latin-1")
    with pytest.raises(HawseError) as caught:
        asyncio.run(credentials.TokenFile(str(path)).headers())
    assert says in caught.value.findings[0].message and caught.value.findings[0].where.file == str(path)


def test_basic_authentication(tmp_path):
    api = DemoApi()
    file = api.kubeconfig(tmp_path / "c", username="jane", password="s:3cret")
    headers = asyncio.run(access.of(Auth("kubeConfig", "", str(file))).headers())
    assert headers["authorization"] == "Basic " + base64.b64encode(b"jane:s:3cret").decode()


# --- exec plugins


def plugin(tmp_path, body, **more):
    script = tmp_path / "plugin"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\nhere = pathlib.Path({str(tmp_path)!r})\n{body}"
    )
    script.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", **more}}


PRINT = """
runs = here / "runs"
count = len(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text("x" * count)
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = {"token": f"{os.environ.get('PREFIX', 't')}{count}"}
expires = here / "expires"
if expires.exists():
    status["expirationTimestamp"] = expires.read_text()
(here / "info").write_text(json.dumps(info))
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def test_an_exec_plugin_is_run_once_and_again_when_its_token_is_refused(tmp_path):
    async def run():
        async with DemoApi(tokens={"k1": "u"}) as api:
            user = plugin(tmp_path, PRINT, env=[{"name": "PREFIX", "value": "k"}], provideClusterInfo=True)
            made = access.of(Auth("kubeConfig", "", str(api.kubeconfig(tmp_path / "c", **user))))
            await list_once(made)
            await list_once(made)
            assert made.credentials.runs == 1
            api.tokens = {"k2": "u"}
            await list_once(made)
            assert made.credentials.runs == 2
            info = json.loads((tmp_path / "info").read_text())
            assert info["spec"] == {"interactive": False, "cluster": {"server": api.url}}

    asyncio.run(run())


def test_an_exec_plugin_is_run_again_before_its_token_expires(tmp_path):
    async def run():
        user = plugin(tmp_path, PRINT)
        made = access.of(Auth("kubeConfig", "", str(DemoApi().kubeconfig(tmp_path / "c", **user))))
        (tmp_path / "expires").write_text((datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        assert (await made.headers())["authorization"] == "Bearer t1"
        assert (await made.headers())["authorization"] == "Bearer t1"
        made.credentials.expire()
        (tmp_path / "expires").write_text((datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        assert (await made.headers())["authorization"] == "Bearer t2"
        assert (await made.headers())["authorization"] == "Bearer t3"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "more", "says", "fix"),
    [
        ("sys.exit('please log in')", {}, "failed with code 1: please log in", "by hand"),
        ("print('hello')", {}, "printed no ExecCredential", "by hand"),
        ("print('{}')", {}, "answered in ''", "apiVersion"),
        (
            "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'status': {}}))",
            {},
            "neither token nor client certificate",
            "log in",
        ),
        (
            "",
            {"command": "no-such-program", "installHint": "get it from the shop"},
            "cannot be run",
            "get it from the shop",
        ),
    ],
)
def test_exec_plugins_that_fail_say_how(tmp_path, body, more, says, fix):
    file = DemoApi().kubeconfig(tmp_path / "c", **plugin(tmp_path, body, **more))
    with pytest.raises(HawseError) as caught:
        asyncio.run(access.of(Auth("kubeConfig", "", str(file))).headers())
    found = caught.value.findings[0]
    assert says in found.message and fix in found.fix and found.where.file == str(file)


def test_an_exec_plugin_that_hangs_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "EXEC_TIMEOUT", 0.3)
    user = plugin(tmp_path, "import time; (here / 'pid').write_text(str(os.getpid())); time.sleep(60)")
    file = DemoApi().kubeconfig(tmp_path / "c", **user)
    with pytest.raises(HawseError, match="no answer"):
        asyncio.run(access.of(Auth("kubeConfig", "", str(file))).headers())


def test_an_unknown_exec_version(tmp_path):
    file = DemoApi().kubeconfig(
        tmp_path / "c", **plugin(tmp_path, "", apiVersion="client.authentication.k8s.io/v1alpha1")
    )
    assert "client.authentication.k8s.io/v1" in finding(lambda: access.of(Auth("kubeConfig", "", str(file)))).fix


# --- TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA, a server certificate for `demo.example` and 127.0.0.1, and a client certificate."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{ca}.key",
                "-out", f"{ca}.crt", "-days", "2", "-subj", f"/CN={ca}")  # fmt: skip
    for name, extension in (("server", "subjectAltName=DNS:demo.example"), ("client", "extendedKeyUsage=clientAuth")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        (folder / "ext").write_text(extension)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "ext")  # fmt: skip
    return folder


def tls_config(api, pki, path, cluster, user):
    import yaml

    file = api.kubeconfig(path, **user)
    config = yaml.safe_load(file.read_text())
    config["clusters"][0]["cluster"].update(cluster)
    file.write_text(yaml.safe_dump(config))
    return Auth("kubeConfig", "", str(file))


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize("inline", [True, False])
def test_client_certificates_from_files_and_inline(pki, tmp_path, inline):
    if inline:
        cluster = {"certificate-authority-data": encoded(pki / "ca.crt")}
        user = {"client-certificate-data": encoded(pki / "client.crt"), "client-key-data": encoded(pki / "client.key")}
    else:
        cluster = {"certificate-authority": str(pki / "ca.crt")}
        user = {"client-certificate": str(pki / "client.crt"), "client-key": str(pki / "client.key")}
    cluster["tls-server-name"] = "demo.example"

    async def run():
        api = DemoApi()
        tls = TLSServer(str(pki / "server.crt"), str(pki / "server.key"), client_ca_file=str(pki / "ca.crt"))
        await api.start(tls=tls)
        try:
            assert api.url.startswith("https:")
            await list_once(access.of(tls_config(api, pki, tmp_path / "c", cluster, user)))
            with pytest.raises(ApiError):  # no certificate shown
                await list_once(access.of(tls_config(api, pki, tmp_path / "d", cluster, {})))
        finally:
            await api.stop()

    asyncio.run(run())


def test_a_certificate_of_another_ca_or_name_is_told_and_can_be_skipped(pki, tmp_path):
    async def run():
        api = DemoApi()
        await api.start(tls=TLSServer(str(pki / "server.crt"), str(pki / "server.key")))
        try:
            trusted = {"certificate-authority": str(pki / "ca.crt")}
            other = {"certificate-authority": str(pki / "other.crt"), "tls-server-name": "demo.example"}
            with pytest.raises(ApiError, match="not trusted.*give the cluster's CA.*certificate-authority"):
                await list_once(access.of(tls_config(api, pki, tmp_path / "a", other, {})))
            with pytest.raises(ApiError, match="not trusted"):  # 127.0.0.1 is not in it
                await list_once(access.of(tls_config(api, pki, tmp_path / "b", trusted, {})))
            skipped = {**other, "insecure-skip-tls-verify": True}
            await list_once(access.of(tls_config(api, pki, tmp_path / "c", skipped, {})))
        finally:
            await api.stop()

    asyncio.run(run())


def test_a_ca_that_is_replaced_in_its_file_counts_for_the_next_call(pki, tmp_path):
    async def run():
        api = DemoApi()
        await api.start(tls=TLSServer(str(pki / "server.crt"), str(pki / "server.key")))
        authority = tmp_path / "ca.crt"
        authority.write_bytes((pki / "other.crt").read_bytes())
        cluster = {"certificate-authority": str(authority), "tls-server-name": "demo.example"}
        client = KubeClient(access.of(tls_config(api, pki, tmp_path / "c", cluster, {})))
        try:
            with pytest.raises(ApiError, match="not trusted"):
                [page async for page in client.pages(PODS, PodObject)]
            authority.write_bytes((pki / "ca.crt").read_bytes())
            assert [page async for page in client.pages(PODS, PodObject)]
        finally:
            await client.close()
            await api.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({"certificate-authority": "absent.crt"}, {}, "cannot read"),
        ({"certificate-authority-data": base64.b64encode(b"hi").decode()}, {}, "no CA certificates"),
        ({}, {"client-certificate-data": "aGk=", "client-key-data": "aGk="}, "of no use"),
    ],
)
def test_certificates_of_no_use_are_told(pki, tmp_path, cluster, user, says):
    api = DemoApi()
    api._tls = TLSServer("", "")
    made = access.of(tls_config(api, pki, tmp_path / "c", cluster, user))

    def enter():
        with made.tls():
            pass

    found = finding(enter)
    assert found.code == "HW506" and says in found.message and found.where.file == str(tmp_path / "c")


def test_keys_from_memory_leave_no_file(pki, tmp_path):
    trust = access.Trust(cert_pem=(pki / "client.crt").read_bytes(), key_pem=(pki / "client.key").read_bytes())
    with trust.settings(None) as settings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(settings.cert_file, settings.key_file)
        assert settings.cert_file.startswith("/proc/self/fd/")
