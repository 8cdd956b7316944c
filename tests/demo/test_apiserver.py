"""The demo's API server answers as Kubernetes' does: lists, pages, watches, selectors, refusals."""

import asyncio
import json
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.demo import objects, selectors
from hawse.demo.apiserver import DemoApi
from hawse.demo.selectors import SelectorError
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig

PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Asked:
    """A client of a DemoApi."""

    def __init__(self, api):
        self.http = HttpClient(ClientConfig(endpoint=api.url, compression="none"))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.http.close()

    async def get(self, path, **headers):
        answer = await self.http.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return answer.status, json.loads(answer.body)

    async def names(self, path):
        status, body = await self.get(path)
        assert status == 200, body
        return [item["metadata"]["name"] for item in body["items"]]

    async def watch(self, path, **headers):
        """All events until the server ends the watch."""
        async with self.http.stream("GET", path, {k: v for k, v in headers.items()}) as answer:
            body = b"".join([piece async for piece in answer])
        return answer.status, [json.loads(line) for line in body.splitlines()]


def run(test, **options):
    async def main():
        async with DemoApi(**options) as api, Asked(api) as asked:
            await test(api, asked)

    asyncio.run(main())


def fill(api):
    api.put(objects.namespace("shop"))
    api.put(objects.plain("Node", "node-1"))
    api.put(objects.plain("Deployment", "web", "shop"))
    for namespace, name in (("shop", "a"), ("shop", "b"), ("zoo", "a"), ("zoo", "c")):
        api.put(objects.pod(namespace, name, labels={"app": name, "in": namespace}, node=f"node-{name}"))


def test_lists_of_all_and_of_one_namespace_and_single_objects():
    async def test(api, asked):
        fill(api)
        assert await asked.names("/api/v1/pods") == ["a", "b", "a", "c"]
        assert await asked.names("/api/v1/namespaces/zoo/pods") == ["a", "c"]
        assert await asked.names("/api/v1/namespaces") == ["shop"]
        assert await asked.names("/api/v1/nodes") == ["node-1"]
        assert await asked.names("/apis/apps/v1/deployments") == ["web"]
        status, body = await asked.get("/api/v1/namespaces/zoo/pods/c")
        assert (status, body["kind"], body["spec"]["nodeName"]) == (200, "Pod", "node-c")
        status, body = await asked.get("/api/v1/namespaces/shop")
        assert (status, body["kind"]) == (200, "Namespace")
        status, body = await asked.get("/api/v1/pods")
        assert (body["kind"], body["apiVersion"]) == ("PodList", "v1")
        assert int(body["metadata"]["resourceVersion"]) >= int(body["items"][-1]["metadata"]["resourceVersion"])

    run(test)


def test_what_is_not_there_is_404_with_a_status():
    async def test(api, asked):
        for path in (
            "/api/v1/replicationcontrollers",
            "/apis/monitoring.coreos.com/v1/scrapeconfigs",
            "/api/v2/pods",
            "/apis/x/v1/pods",
            "/api/v1",
            "/api/v1/namespaces/a/pods/b/log",
        ):
            status, body = await asked.get(path)
            assert (status, body["kind"], body["code"]) == (404, "Status", 404)
        status, body = await asked.get("/api/v1/namespaces/shop/pods/none")
        assert (status, body["reason"]) == (404, "NotFound")

    run(test)


def test_pages_hold_everything_once():
    async def test(api, asked):
        for number in range(23):
            api.put(objects.pod("shop", f"p{number:02}"))
        names, path, remaining = [], "/api/v1/pods?limit=5", []
        versions = set()
        while path:
            _, body = await asked.get(path)
            names += [item["metadata"]["name"] for item in body["items"]]
            remaining.append(body["metadata"].get("remainingItemCount", 0))
            versions.add(body["metadata"]["resourceVersion"])
            token = body["metadata"].get("continue")
            path = f"/api/v1/pods?limit=5&continue={token}" if token else ""
            api.put(objects.namespace(f"n{len(names)}"))  # changes elsewhere do not change the list's version
        assert names == [f"p{number:02}" for number in range(23)]
        assert remaining == [18, 13, 8, 3, 0] and len(versions) == 1

    run(test)


def test_a_continue_token_expires_with_the_history():
    async def test(api, asked):
        for number in range(4):
            api.put(objects.pod("shop", f"p{number}"))
        _, body = await asked.get("/api/v1/pods?limit=2")
        api.forget_history()
        status, refused = await asked.get(f"/api/v1/pods?limit=2&continue={body['metadata']['continue']}")
        assert (status, refused["reason"]) == (410, "Expired")
        assert (await asked.get("/api/v1/pods?limit=2&continue=xx"))[0] == 400

    run(test)


def test_metadata_alone():
    async def test(api, asked):
        fill(api)
        _, body = await asked.get("/api/v1/pods", accept=PARTIAL)
        assert (body["kind"], body["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
        assert {tuple(sorted(item)) for item in body["items"]} == {("apiVersion", "kind", "metadata")}
        _, events = await asked.watch("/api/v1/pods?watch=1&timeoutSeconds=0", accept=PARTIAL.replace("List", ""))
        assert {event["object"]["kind"] for event in events} == {"PartialObjectMetadata"}

    run(test)


def test_a_watch_tells_what_happened_since_a_version():
    async def test(api, asked):
        fill(api)
        _, body = await asked.get("/api/v1/pods")
        version = body["metadata"]["resourceVersion"]
        api.put(objects.pod("shop", "new"))
        api.put(objects.pod("shop", "a", node="node-x"))
        api.put(objects.namespace("other"))
        api.delete("zoo", "c")
        path = f"/api/v1/pods?watch=true&resourceVersion={version}&timeoutSeconds=0"
        _, events = await asked.watch(path)
        told = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
        assert told == [("ADDED", "new"), ("MODIFIED", "a"), ("DELETED", "c")]
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert versions == sorted(versions) and versions[0] > int(version)
        _, events = await asked.watch(f"{path.replace(version, str(versions[1]))}&allowWatchBookmarks=true")
        assert [event["type"] for event in events] == ["DELETED", "BOOKMARK"]
        assert events[1]["object"]["metadata"] == {"resourceVersion": str(versions[2])}
        _, events = await asked.watch("/api/v1/namespaces/shop/pods?watch=1&timeoutSeconds=0")
        assert sorted(event["object"]["metadata"]["name"] for event in events) == ["a", "b", "new"]

    run(test)


def test_a_watch_waits_for_changes_and_ends_in_time():
    async def test(api, asked):
        _, body = await asked.get("/api/v1/pods")
        version = body["metadata"]["resourceVersion"]
        began = time.monotonic()
        watching = asyncio.create_task(asked.watch(f"/api/v1/pods?watch=1&resourceVersion={version}&timeoutSeconds=1"))
        await asyncio.sleep(0.1)
        api.put(objects.pod("shop", "a"))
        _, events = await watching
        assert [event["type"] for event in events] == ["ADDED"]
        assert 0.9 < time.monotonic() - began < 3

    run(test)


def test_a_watch_from_a_version_that_is_too_old():
    async def test(api, asked):
        _, body = await asked.get("/api/v1/pods")
        for number in range(10):
            api.put(objects.pod("shop", f"p{number}"))
        path = f"/api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion={body['metadata']['resourceVersion']}"
        status, events = await asked.watch(path)
        assert [event["type"] for event in events] == ["ERROR"] and events[0]["object"]["code"] == 410

    run(test, history=3)


def test_tokens_permissions_and_faults():
    async def test(api, asked):
        assert (await asked.get("/api/v1/pods"))[0] == 401
        assert (await asked.get("/api/v1/pods", authorization="Bearer no"))[0] == 401
        assert (await asked.get("/api/v1/pods", authorization="Bearer yes"))[0] == 200
        api.faults.forbidden.add(("list", "pods"))
        status, body = await asked.get("/api/v1/namespaces/shop/pods", authorization="Bearer yes")
        assert (status, body["reason"]) == (403, "Forbidden")
        assert 'User "jane" cannot list resource "pods" in API group "" in the namespace "shop"' in body["message"]
        api.faults.forbidden.clear()
        api.faults.status = 500
        assert (await asked.get("/api/v1/pods", authorization="Bearer yes"))[0] == 500

    run(test, tokens={"yes": "jane"})


def test_the_kubeconfig_is_for_its_owner_only(tmp_path):
    async def test(api, asked):
        path = api.kubeconfig(tmp_path / "config", token="t")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "token: t" in path.read_text() and api.url in path.read_text()

    run(test)


# --- selectors


POD = objects.pod("shop", "web", labels={"app": "web", "tier": "front"}, node="n1")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=web,tier=back", False),
        ("app!=web", False),
        ("absent!=x", True),
        ("app", True),
        ("absent", False),
        ("!absent", True),
        ("!app", False),
        ("app in (web, db)", True),
        ("app in (db),tier=front", False),
        ("app notin (db)", True),
        ("absent notin (x),app", True),
    ],
)
def test_label_selectors(selector, expected):
    assert selectors.labels(selector)(POD) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName!=n1", False),
        ("metadata.name=web,metadata.namespace=shop", True),
        ("status.phase==Pending", False),
    ],
)
def test_field_selectors(selector, expected):
    assert selectors.fields(selector)(POD) is expected


@pytest.mark.parametrize("selector", ["spec.containers=x", "spec.nodeName"])
def test_fields_that_cannot_be_selected_by(selector):
    with pytest.raises(SelectorError):
        selectors.fields(selector)

    async def test(api, asked):
        assert (await asked.get(f"/api/v1/pods?fieldSelector={selector}"))[0] == 400

    run(test)


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")), st.sampled_from("abc"), st.sampled_from("xy"))
def test_selectors_and_their_opposites_split_the_world(labels, key, value):
    found = {"metadata": {"labels": labels}}
    for one, other in (
        (f"{key}={value}", f"{key}!={value}"),
        (key, f"!{key}"),
        (f"{key} in ({value})", f"{key} notin ({value})"),
    ):
        assert selectors.labels(one)(found) is not selectors.labels(other)(found)
