"""Asks the API server: lists page by page, watches line by line, failures told as what to do about them."""

import random
from collections.abc import AsyncGenerator, Mapping
from typing import Generic, TypeVar

import msgspec

from hawse.component import Busy
from hawse.kube.access import Access
from hawse.kube.errors import ApiError, Call, Gone, explain
from hawse.kube.lines import Lines
from hawse.kube.objects import Bookmark, Described, ObjectList, Status, WatchEvent
from hawse.net.client import HttpClient, StreamedResponse
from hawse.net.settings import ClientConfig
from hawse.values import Duration

T = TypeVar("T", bound=Described)
Whole = TypeVar("Whole")

TIMEOUT = 60.0  # seconds for one page, and for a watch to begin
_WATCH = (240, 300)  # seconds after which a watch is to end, drawn from this range so that not all end together
_SLACK = 15.0  # seconds after which a watch that should have ended is broken off
# All that msgspec raises for what is no JSON: text that is no UTF-8 and deep nesting have errors of their own.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PAGE_LIMIT = 256 << 20  # bytes of one page
_PARTIAL = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"


class KubeClient:
    """One API server, one identity. Connections are kept; they are made anew when certificates have changed."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http: tuple[object, HttpClient] | None = None

    async def close(self) -> None:
        """Close the connections. Calls under way end with ApiError."""
        http, self._http = self._http, None
        if http is not None:
            await http[1].close()

    async def _client(self) -> HttpClient:
        stamp = self._access.stamp()
        before = self._http
        if before is None or before[0] != stamp:
            with self._access.tls() as tls:
                settings = ClientConfig(
                    endpoint=self._access.url,
                    tls=tls,
                    compression="none",
                    timeout=Duration(TIMEOUT),
                    max_conns_per_host=0,  # each watch takes a connection for as long as it lasts
                )
                self._http = (stamp, HttpClient(settings, max_response_size=_PAGE_LIMIT))
            if before is not None:
                await before[1].close()
        assert self._http is not None
        return self._http[1]

    async def _get(self, path: str, accept: str) -> tuple[int, Mapping[str, str], bytes]:
        """A whole answer; after a 401, a second one with new credentials where there may be some."""
        for last in (False, True):
            headers = {**await self._access.headers(), "accept": accept}
            http = await self._client()
            try:
                answer = await http.request("GET", path, headers=headers)
            except Busy as busy:
                raise _unreachable(busy, self._access) from None
            if answer.status == 401 and not last and self._access.credentials.expire():
                continue
            break
        return answer.status, answer.headers, answer.body

    async def pages(
        self, call: Call, kind: type[T], *, limit: int = 500, partial: bool = False
    ) -> AsyncGenerator[ObjectList[T], None]:
        """A list, `limit` objects a page; only one page is in memory. All pages have the first one's version.

        Raises Gone if the list took longer than the server remembers, ApiError, HawseError.
        """
        decoder = msgspec.json.Decoder(ObjectList[kind])  # type: ignore[valid-type]
        token = ""
        while True:
            path = call.path({"limit": str(limit), "continue": token})
            accept = _PARTIAL.format("List") if partial else "application/json"
            status, headers, body = await self._get(path, accept)
            if status != 200:
                raise explain(status, body, headers, "list", call, self._access.origin)
            try:
                page = decoder.decode(body)
            except _NO_JSON as error:
                raise _nonsense("list", call, error) from None
            del body
            token = page.metadata.continue_ or ""
            yield page
            if not token:
                return

    async def read(self, call: Call, name: str, kind: type[Whole]) -> Whole:
        """One object, by its name (verb "get"). Raises ApiError (status 404 where it is not there), HawseError."""
        status, headers, body = await self._get(call.path({}, name), "application/json")
        if status != 200:
            raise explain(status, body, headers, "get", call, self._access.origin)
        try:
            return msgspec.json.decode(body, type=kind)
        except _NO_JSON as error:
            raise _nonsense("get", call, error) from None

    async def watch(
        self, call: Call, kind: type[T], version: str, *, partial: bool = False
    ) -> AsyncGenerator[tuple[str, T | None, str], None]:
        """Changes since `version`: (ADDED | MODIFIED | DELETED | BOOKMARK, object or None, its resourceVersion).

        Ends when the server ends it, after some minutes, or the connection was lost: go on from the last version.
        Raises Gone, ApiError, HawseError.
        """
        seconds = random.randint(*_WATCH)  # noqa: S311 - not for secrets
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        headers = {
            **await self._access.headers(),
            "accept": _PARTIAL.format("") if partial else "application/json",
        }
        http = await self._client()
        events = _Events(call, kind)
        try:
            async with http.stream("GET", call.path(query), headers, stall=seconds + _SLACK) as answer:
                if answer.status != 200:
                    raise await self._refused(answer, call)
                lines = Lines()
                async for piece in answer:
                    for line in lines.feed(piece):
                        yield events.decode(line)
        except Busy as busy:
            raise _unreachable(busy, self._access) from None

    async def _refused(self, answer: StreamedResponse, call: Call) -> ApiError:
        body = await answer.read()
        if answer.status == 401:
            self._access.credentials.expire()
        return explain(answer.status, body, answer.headers, "watch", call, self._access.origin)


class _Events(Generic[T]):
    """Decodes the lines of one watch."""

    def __init__(self, call: Call, kind: type[T]) -> None:
        self._call = call
        self._event = msgspec.json.Decoder(WatchEvent)
        self._object: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)

    def decode(self, line: bytes) -> tuple[str, T | None, str]:
        """Type, object (None for a bookmark) and version. Raises ApiError for an ERROR event."""
        try:
            event = self._event.decode(line)
            if event.type == "ERROR":
                raise self._error(msgspec.json.decode(event.object, type=Status))
            if event.type == "BOOKMARK":
                mark = msgspec.json.decode(event.object, type=Bookmark)
                return event.type, None, mark.metadata.resourceVersion
            found = self._object.decode(event.object)
        except _NO_JSON as error:
            raise _nonsense("watch", self._call, error) from None
        return event.type, found, found.metadata.resourceVersion

    def _error(self, status: Status) -> ApiError:
        message = f"the watch of {self._call} ended: {status.message or status.reason}"
        kind = Gone if status.code == 410 or status.reason in {"Expired", "Gone"} else ApiError
        return kind(message, status=status.code)


def _nonsense(verb: str, call: Call, error: Exception) -> ApiError:
    fix = "is something else than the API server answering there?"
    return ApiError(f"cannot {verb} {call}: the answer is not what the API server sends: {error}", fix)


def _unreachable(busy: Busy, access: Access) -> ApiError:
    """The network's reason, with Kubernetes' names for what to set."""
    reason, _, fix = busy.reason.partition("; ")
    if "certificate is not trusted" in reason:
        fix = f"give the cluster's CA (certificate-authority in the kubeconfig; here: {access.origin})"
    elif "connection refused" in reason:
        fix = f"is the API server up, and {access.url} its address ({access.origin})?"
    return ApiError(f"the API server cannot be reached: {reason}", fix)
