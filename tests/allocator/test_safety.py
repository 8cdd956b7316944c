"""What monitors may have scraped: addresses in every spelling, names, and what loosens which limit."""

import pytest

from hawse.allocator.safety import Allow, Guard, address_of, host_of, host_of_url

META = "__meta_kubernetes_"
POD = {
    "__address__": "10.1.0.5:8080",
    f"{META}namespace": "shop",
    f"{META}pod_name": "web-0",
    f"{META}pod_ip": "10.1.0.5",
}
ENDPOINT = {"__address__": "192.168.7.7:9100", f"{META}namespace": "shop", f"{META}endpointslice_name": "external"}
NODE = {"__address__": "10.0.0.1:10250", f"{META}node_name": "node-1", f"{META}node_address_ExternalIP": "203.0.113.9"}
SERVICE = {
    "__address__": "web.shop.svc:80",
    f"{META}namespace": "shop",
    f"{META}service_name": "web",
    f"{META}service_cluster_ip": "10.96.0.9",
    f"{META}service_type": "ClusterIP",
}
EXTERNAL = {**SERVICE, f"{META}service_type": "ExternalName"}


def why(address, discovered=POD, namespaces=("shop",), **allow):
    return Guard(Allow(**allow)).why_not(address, discovered, namespaces)


@pytest.mark.parametrize(
    ("address", "discovered"),
    [
        ("10.1.0.5:8080", POD),
        ("10.1.0.5:10250", POD),
        ("10.1.0.5", POD),
        ("192.168.7.7:9100", ENDPOINT),
        ("10.0.0.1:9100", NODE),
        ("203.0.113.9:9100", NODE),
        ("10.96.0.9:80", SERVICE),
        ("web.shop.svc:80", SERVICE),
        ("web.shop.svc.cluster.local.:80", SERVICE),
        ("db-0.db.shop.svc:9187", POD),
        ("WEB.SHOP.SVC:80", SERVICE),
        ("blackbox.shop.svc:9115", {}),
        ("[fd00::7]:80", {**POD, f"{META}pod_ip": "fd00:0::7"}),
    ],
)
def test_what_an_object_has_may_be_scraped(address, discovered):
    assert why(address, discovered) == ""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:9090",
        "127.8.8.8:80",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "0177.0.0.1:80",
        "[::1]:80",
        "::1",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:7f00:1]:80",
        "[2002:7f00:1::]:80",
        "[64:ff9b::7f00:1]:80",
        "0.0.0.0:80",
        "[::]:80",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "0xa9fea9fe:80",
        "[fe80::1%25eth0]:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "localhost:80",
        "LocalHost.:80",
        "x.localhost:80",
        "metadata.google.internal:80",
        "metadata:80",
    ],
)
def test_this_machine_and_the_clouds_metadata_may_not(address):
    # Whatever else is allowed, and though the object itself claims the address.
    claims = {**ENDPOINT, "__address__": address}
    for allow in ({}, {"foreign_addresses": True}, {"addresses": ("0.0.0.0/0", "::/0", "localhost", "metadata")}):
        assert "allow.local_addresses is off" in why(address, claims, **allow), allow
    assert why(address, claims, local_addresses=True, foreign_addresses=True) == ""


@pytest.mark.parametrize(
    ("address", "discovered", "reason"),
    [
        ("10.1.0.6:8080", POD, "10.1.0.6 is not an address of the pod shop/web-0 (not in allow.addresses)"),
        ("10.1.0.6:8080", {}, "10.1.0.6 is not an address of anything that was discovered"),
        ("db.other.svc:5432", POD, "is not a name of the pod shop/web-0 (not in allow.addresses; a Service is written"),
        ("db.other.svc.cluster.local:5432", SERVICE, "is not a name of the service shop/web"),
        ("example.com:80", POD, "is not a name of"),
        ("web:80", POD, "NAME.shop.svc"),
        ("web.shop:80", POD, "NAME.shop.svc"),
        ("x.shop.svc.evil.com:80", POD, "is not a name of"),
        ("web.shop.svc:80", EXTERNAL, "ExternalName"),
        ("", POD, "is no address"),
        (":80", POD, "is no address"),
        ("web.shop.svc:80@169.254.169.254", POD, "is no address"),
        ("web.shop.svc@169.254.169.254:80", POD, "is no address"),
        ("web.shop.svc:80#.evil.com", POD, "is no address"),
        ("web.shop.svc:80?x", POD, "is no address"),
        ("web.shop.svc\\@evil.com", POD, "is no address"),
        ("web.shop.svc:80 evil.com", POD, "is no address"),
        ("10.1.0.5\n169.254.169.254", POD, "is no address"),
        ("\uff11\uff12\uff17.0.0.1:80", POD, "is no address"),
        ("127\u30020\u30020\u30021:80", POD, "is no address"),
        ("\u2488\u2489:80", POD, "is no address"),
        ("10.1.0.5:http", POD, "is no address"),
    ],
)
def test_what_belongs_to_others_may_not(address, discovered, reason):
    assert reason in why(address, discovered)


def test_allowed_addresses():
    allow = {"addresses": ("blackbox.monitoring.svc", "10.20.0.0/16", "*.example.com", "192.0.2.7")}
    for fine in ("blackbox.monitoring.svc:9115", "10.20.3.4:80", "a.b.example.com:80", "192.0.2.7:1"):
        assert why(fine, {}, **allow) == ""
    for wrong in ("blackbox.other.svc:9115", "10.21.0.1:80", "example.com:80", "192.0.2.8:1", "evilexample.com:80"):
        assert why(wrong, {}, **allow) != ""
    assert why("10.1.0.6:80", foreign_addresses=True) == ""
    assert [problem.path for problem in Allow(addresses=("a b", "http://x")).problems()] == [
        "addresses[0]",
        "addresses[1]",
    ]


def test_hosts_that_monitors_name():
    guard = Guard(Allow())
    assert guard.why_not_host("http://proxy.shop.svc:3128", "shop") == ""
    assert "proxy.other.svc is not a name" in guard.why_not_host("http://proxy.other.svc:3128", "shop")
    assert "link-local" in guard.why_not_host("http://169.254.169.254/latest/", "shop")
    for odd in (
        "http://[bad",
        "http://proxy.shop.svc:80@evil.com",
        "http://u:p@proxy.shop.svc",
        "http://a\\b",
        "http:///x",
    ):
        assert "is no address" in guard.why_not_host(odd, "shop"), odd


def test_hosts():
    assert host_of_url("http://Host.:80/x") == host_of("Host.:80") == "host"
    assert host_of("http://host") == ""
    assert host_of("[::1]:80") == "::1"
    assert host_of("a:80") == "a"
    assert str(address_of("0x7f.1")) == "127.0.0.1"
    assert address_of("1.2.3.4.5") is None
    assert address_of("deadbeef") is None
