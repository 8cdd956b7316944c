"""Where targets come from: `static_configs`, `file_sd_configs`, `http_sd_configs`, `kubernetes_sd_configs`.

Keys, defaults and refusals are Prometheus' (prometheus.io/docs/prometheus/latest/configuration).
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse.component import Problem, Section
from hawse.kube.access import Auth
from hawse.net.settings import url_problems
from hawse.prometheus.http_settings import HttpClientSettings
from hawse.prometheus.values import PromDuration, Text

Role = Literal["node", "pod", "service", "endpoints", "endpointslice", "ingress"]

_FILE = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")


class StaticConfig(Section, frozen=True):
    """Targets by address, with labels that all of them get."""

    targets: tuple[str, ...] = ()
    labels: dict[str, Text] = field(default_factory=dict)


class FileSDConfig(Section, frozen=True):
    """Files with lists of static_configs, as JSON or YAML, read again when they change."""

    files: Annotated[tuple[str, ...], Meta(min_length=1, description="Paths; the last part may have a `*`.")]
    refresh_interval: Annotated[PromDuration, Meta(gt=0, description="Read again at the latest.")] = PromDuration(300)

    def problems(self) -> Iterator[Problem]:
        for number, name in enumerate(self.files):
            if not _FILE.fullmatch(name):
                fix = "end it in .json, .yml or .yaml, with one * at most, in its last part"
                yield Problem(f"files[{number}]", f"path name {name!r} is not valid for file discovery", fix)


class HttpSDConfig(HttpClientSettings, frozen=True, kw_only=True):
    """A URL that answers with a list of static_configs as JSON, asked every `refresh_interval`."""

    url: str
    refresh_interval: Annotated[PromDuration, Meta(gt=0)] = PromDuration(60)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if not self.url:
            yield Problem("url", "URL is missing", 'write "http://host:port/path"')
        yield from url_problems("url", self.url)


class Namespaces(Section, frozen=True):
    """Which namespaces to look in; all of them, if none is named."""

    own_namespace: bool = False
    names: tuple[str, ...] = ()


class Selector(Section, frozen=True):
    """What the API server is to choose from: label and field selectors, for the objects of one role."""

    role: Role
    label: str = ""
    field: str = ""


class AttachMetadata(Section, frozen=True):
    """What else to know of a target: each costs a watch, and the permission for it."""

    node: Annotated[bool, Meta(description="Labels and annotations of the pod's node.")] = False
    namespace: Annotated[bool, Meta(description="Labels and annotations of the object's namespace.")] = False
    deployment: Annotated[bool, Meta(description="Name of the pod's Deployment.")] = False
    job: Annotated[bool, Meta(description="Name of the pod's Job.")] = False
    cronjob: Annotated[bool, Meta(description="Name of the pod's CronJob.")] = False


_SELECTABLE: dict[str, tuple[str, ...]] = {
    "pod": ("pod", "node"),
    "service": ("service",),
    "endpointslice": ("pod", "service", "endpointslice"),
    "endpoints": ("pod", "service", "endpoints"),
    "node": ("node",),
    "ingress": ("ingress",),
}


class KubernetesSDConfig(HttpClientSettings, frozen=True, kw_only=True):
    """Targets out of the Kubernetes API: the objects of one role, watched.

    Inside a pod its service account is used; else `kubeconfig_file`, or `api_server` with the keys of an HTTP client.
    """

    role: Role
    api_server: str = ""
    kubeconfig_file: str = ""
    namespaces: Namespaces = field(default_factory=Namespaces)
    selectors: tuple[Selector, ...] = ()
    attach_metadata: AttachMetadata = field(default_factory=AttachMetadata)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        yield from url_problems("api_server", self.api_server)
        custom = next((key for key in _HTTP_KEYS if getattr(self, key) != getattr(_NO_HTTP, key)), "")
        if self.api_server and self.kubeconfig_file:
            message = "cannot use kubeconfig_file and api_server simultaneously"
            yield Problem("kubeconfig_file", message, "remove one of them")
        elif custom and self.kubeconfig_file:
            message = "cannot use a custom HTTP client configuration together with kubeconfig_file"
            yield Problem(custom, message, f"remove {custom}")
        elif custom and not self.api_server:
            message = "to use a custom HTTP client configuration, api_server must be given explicitly"
            yield Problem(custom, message, "set api_server")
        for key in ("oauth2", "http_headers"):
            if getattr(self, key):
                message = f"{key} is not supported for the API server"
                yield Problem(key, message, "use authorization, basic_auth, tls_config or kubeconfig_file")
        if self.namespaces.own_namespace and (self.api_server or self.kubeconfig_file):
            key = "api_server" if self.api_server else "kubeconfig_file"
            message = f"cannot use {key} and namespaces.own_namespace simultaneously"
            yield Problem("namespaces.own_namespace", message, "name the namespace in namespaces.names")
        yield from self._selector_problems()

    def _selector_problems(self) -> Iterator[Problem]:
        seen = set()
        for number, selector in enumerate(self.selectors):
            path = f"selectors[{number}].role"
            if selector.role in seen:
                yield Problem(path, f"duplicated selector role: {selector.role}", "join them by a comma")
            seen.add(selector.role)
            allowed = _SELECTABLE[self.role]
            if selector.role not in allowed:
                yield Problem(path, f"the role {self.role} supports only {', '.join(allowed)} selectors")

    def selector(self, role: str) -> Selector | None:
        """The selector for the objects of a role."""
        return next((one for one in self.selectors if one.role == role), None)

    @property
    def auth(self) -> Auth:
        """How to reach the API server; not for `api_server`, which has all the keys of an HTTP client."""
        return Auth("kubeConfig", "", self.kubeconfig_file) if self.kubeconfig_file else Auth()


_NO_HTTP = HttpClientSettings()
_HTTP_KEYS = HttpClientSettings.__struct_fields__
