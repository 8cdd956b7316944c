"""The API server's refusals, told as what to do about them."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec

from hawse.kube.objects import Status


class Call(msgspec.Struct, frozen=True):
    """One resource, in one namespace or in all ("" ), with its selectors."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    def path(self, query: Mapping[str, str], name: str = "") -> str:
        """Path and query of a list or watch, or of the object `name`."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        given = {key: value for key, value in {**query, **selectors}.items() if value}
        below = f"/{quote(name, safe='')}" if name else ""
        return f"{root}{scope}/{self.resource}{below}" + (f"?{urlencode(given)}" if given else "")

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.resource}{where}"


class ApiError(Exception):
    """A call failed. `status` is 0 where there was no answer. `fix` is for the person who runs this."""

    def __init__(self, message: str, fix: str = "", *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.message = message
        self.fix = fix
        self.status = status
        self.retry_after = retry_after


class Gone(ApiError):
    """410: the server no longer knows that resource version. Only a new list helps."""


_USER = re.compile(r'User "([^"]+)"')


def explain(status: int, body: bytes, headers: Mapping[str, str], verb: str, call: Call, origin: str) -> ApiError:
    """An error for an answer that is no success. `origin` says where our identity was configured."""
    try:
        said = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = Status(status, None, body[:200].decode("utf-8", "replace").strip())
    text = (said.message or said.reason or "").strip()
    what = f"cannot {verb} {call}: the API server answered {status}" + (f" ({text})" if text else "")
    retry_after = _retry_after(headers, said)
    if status == 410:
        return Gone(what, status=410)
    if status == 401:
        return ApiError(what, f"the credentials ({origin}) are not accepted: renew the token or log in", status=401)
    if status == 403:
        return ApiError(what, rule(verb, call, text), status=403)
    if status == 404:
        fix = f"is {call.group or 'core'}/{call.version} served there? `kubectl api-resources` tells"
        return ApiError(what, fix, status=404)
    if status == 429:
        return ApiError(what, "it is overloaded or limits us; we wait", status=429, retry_after=retry_after)
    fix = "it is not well, or not ready; we try again" if status >= 500 else ""
    return ApiError(what, fix, status=status, retry_after=retry_after)


def _retry_after(headers: Mapping[str, str], said: Status) -> float | None:
    header = headers.get("retry-after", "")
    if header.isascii() and header.isdigit():  # "²" is a digit, too
        return float(header)
    seconds = said.details.retryAfterSeconds if said.details else None
    return float(seconds) if seconds is not None else None


def rule(verb: str, call: Call, text: str = "") -> str:
    """The RBAC rule that permits what was forbidden, and whom to bind it to."""
    verbs = '"list", "watch"' if verb in {"list", "watch"} else f'"{verb}"'
    kind = "Role" if call.namespace else "ClusterRole"
    where = f" in namespace {call.namespace}" if call.namespace else ""
    match = _USER.search(text)
    whom = f"{kind}Binding to {match[1]}" if match else f"{kind}Binding to our service account"
    return (
        f'add the rule {{apiGroups: ["{call.group}"], resources: ["{call.resource}"], verbs: [{verbs}]}} '
        f"to a {kind}{where} with a {whom}"
    )
