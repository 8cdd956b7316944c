"""What a request to the demo's API server sees of its objects, and the forms in which they are sent."""

import base64
import json
from collections.abc import Mapping
from typing import NamedTuple

from hawse.demo import selectors
from hawse.demo.selectors import Matches, Object

# (group, plural) → (kind, whether it lives in namespaces)
RESOURCES = {
    ("", "pods"): ("Pod", True),
    ("", "namespaces"): ("Namespace", False),
    ("", "nodes"): ("Node", False),
    ("apps", "deployments"): ("Deployment", True),
    ("apps", "statefulsets"): ("StatefulSet", True),
    ("apps", "daemonsets"): ("DaemonSet", True),
    ("batch", "jobs"): ("Job", True),
    ("", "services"): ("Service", True),
    ("", "endpoints"): ("Endpoints", True),
    ("", "secrets"): ("Secret", True),
    ("", "configmaps"): ("ConfigMap", True),
    ("discovery.k8s.io", "endpointslices"): ("EndpointSlice", True),
    ("networking.k8s.io", "ingresses"): ("Ingress", True),
    ("monitoring.coreos.com", "servicemonitors"): ("ServiceMonitor", True),
    ("monitoring.coreos.com", "podmonitors"): ("PodMonitor", True),
    ("monitoring.coreos.com", "probes"): ("Probe", True),
    ("monitoring.coreos.com", "scrapeconfigs"): ("ScrapeConfig", True),
}
_VERSIONS = {("monitoring.coreos.com", "scrapeconfigs"): "v1alpha1"}  # all others are v1
KINDS = {kind: key for key, (kind, _) in RESOURCES.items()}
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired"}


class Change(NamedTuple):
    """One entry of the history that watches read."""

    version: int
    resource: tuple[str, str]
    type: str
    found: Object
    before: Object | None


class ApiStatus(Exception):
    """Answers with a v1 Status."""

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The Status as JSON."""
        reason = _REASONS.get(self.code, "InternalError")
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return json.dumps({**status, "message": str(self), "reason": reason, "code": self.code}).encode()


class View:
    """What one request sees: a resource, a namespace, selectors, whole objects or their metadata."""

    def __init__(self, resource: tuple[str, str], namespace: str, query: Mapping[str, str], *, partial: bool) -> None:
        self.resource = resource
        self._kind = RESOURCES[resource][0]
        self._namespace = namespace
        self._labels: Matches = selectors.labels(query.get("labelSelector", ""))
        self._fields: Matches = selectors.fields(query.get("fieldSelector", ""))
        self._partial = partial

    def matches(self, found: Object) -> bool:
        """Whether the request sees this object."""
        if self._namespace and found["metadata"].get("namespace") != self._namespace:
            return False
        return self._labels(found) and self._fields(found)

    def shown(self, found: Object) -> Object:
        """The object, or what a PartialObjectMetadata has of it."""
        if not self._partial:
            return found
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}

    def list_kind(self) -> tuple[str, str]:
        """`kind` and `apiVersion` of a list."""
        if self._partial:
            return "PartialObjectMetadataList", "meta.k8s.io/v1"
        return f"{self._kind}List", f"{self.resource[0]}/{_version(*self.resource)}".lstrip("/")

    def line(self, type_: str, found: Object) -> bytes:
        """A watch event."""
        return event(type_, self.shown(found))

    def change(self, change: Change) -> bytes:
        """The event that a change is to this request: an object may come into its selectors, or leave them."""
        if change.resource != self.resource:
            return b""
        now = change.type != "DELETED" and self.matches(change.found)
        was = change.before is not None and self.matches(change.before)
        if not now and not was:
            return b""
        return self.line("DELETED" if not now else "MODIFIED" if was else "ADDED", change.found)

    def bookmark(self, version: int) -> bytes:
        """A BOOKMARK event."""
        return self.line(
            "BOOKMARK",
            {"kind": self._kind, "apiVersion": self.list_kind()[1], "metadata": {"resourceVersion": str(version)}},
        )


def _version(group: str, resource: str) -> str:
    return _VERSIONS.get((group, resource), "v1")


def key_of(found: Object) -> tuple[str, str]:
    """Namespace and name."""
    return found["metadata"].get("namespace") or "", found["metadata"]["name"]


def event(type_: str, found: Object) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": type_, "object": found}, separators=(",", ":")).encode() + b"\n"


def token(version: int, after: tuple[str, str]) -> str:
    """Where the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode()


def open_token(text: str) -> tuple[int, tuple[str, str]]:
    """The version of a list, and the last object that it has shown. Raises ApiStatus 400."""
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(text))
    except ValueError:
        raise ApiStatus(400, "continue key is not valid") from None
    return version, (namespace, name)


def route(path: str) -> tuple[str, str, str, str]:
    """Group, plural, namespace and name of a path. Raises ApiStatus 404 for what is not served."""
    parts = path.strip("/").split("/")
    group = ""
    if parts[0] == "apis":
        group = parts.pop(1) if len(parts) > 1 else ""
    rest = parts[2:]
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    known = len(rest) in {1, 2} and (group, rest[0]) in RESOURCES
    if not known or parts[1:2] != [_version(group, rest[0])]:
        raise ApiStatus(404, "the server could not find the requested resource")
    return group, rest[0], namespace, rest[1] if len(rest) == 2 else ""
