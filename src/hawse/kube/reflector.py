"""Keeps a store like the API server's list: list in pages, then watch from there, for ever.

The protocol: kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes" and "Retrieving
large results sets in chunks".
"""

import asyncio
import logging
import random
import time
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

from hawse.diagnostics import HawseError
from hawse.kube.client import KubeClient
from hawse.kube.errors import ApiError, Call, Gone
from hawse.kube.objects import Described

T = TypeVar("T", bound=Described)
T_contra = TypeVar("T_contra", contravariant=True)

PAGE = 500  # objects a page, as kubectl and client-go ask
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before trying again
_STEADY = 5.0  # a watch that lasted this many seconds was a good one
_REMIND = 60.0  # seconds after which the same error is logged again


class Sink(Protocol[T_contra]):
    """Where objects go: a PodStore or MetaStore."""

    def begin(self) -> None: ...
    def put(self, found: T_contra) -> None: ...
    def delete(self, found: T_contra) -> None: ...
    def end(self) -> None: ...


class Reflector(Generic[T]):
    """One resource of the API server, reflected in a sink.

    `synced` is set once the first list is complete. `error` says why it is behind, "" while it is not.
    """

    def __init__(self, client: KubeClient, call: Call, kind: type[T], sink: Sink[T], *, partial: bool = False) -> None:
        self.call = call
        self.synced = asyncio.Event()
        self.error = ""
        self.lists = 0
        self.watches = 0
        self._client = client
        self._kind: type[T] = kind
        self._sink: Sink[T] = sink
        self._partial = partial
        self._version = ""  # resourceVersion to go on from; "" asks for a list
        self._page = PAGE
        self._pause = FIRST_PAUSE
        self._told: tuple[str, float] = ("", 0.0)
        self._log = logging.getLogger("hawse.kube")

    def relist(self) -> None:
        """Begin `run()` with a list, not with a watch from where it was: more of each object is to be kept."""
        self._version = ""

    async def run(self) -> None:
        """For ever. What goes wrong is logged and tried again, with pauses that grow."""
        while True:
            began = time.monotonic()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone as error:
                self._version = ""
                self._log.info("%s: %s; listing anew", self.call, error.message)
                await self._sleep(None)
            except ApiError as error:
                self._tell(str(error))
                await self._sleep(error.retry_after)
            except HawseError as error:
                self._tell(str(error))
                await self._sleep(None)
            except Exception as error:  # a fault of ours must not end the watch: known pods would grow stale
                self._version = ""
                self._log.exception("%s: unexpected error", self.call)
                self._tell(repr(error))
                await self._sleep(None)
            else:
                if time.monotonic() - began < _STEADY:
                    await self._sleep(None)

    async def _sleep(self, retry_after: float | None) -> None:
        """Full jitter, so that many replicas don't come back together."""
        await asyncio.sleep(retry_after if retry_after is not None else random.uniform(0.1, 1) * self._pause)  # noqa: S311
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _list(self) -> None:
        self.lists += 1
        self._sink.begin()
        version = ""
        try:
            pages = self._client.pages(self.call, self._kind, limit=self._page, partial=self._partial)
            async with aclosing(pages):
                async for page in pages:
                    version = page.metadata.resourceVersion
                    for found in page.items or ():
                        self._sink.put(found)
                    await asyncio.sleep(0)  # a page takes milliseconds: let telemetry through between two
        except Gone:
            self._page *= 2  # the list took longer than the server remembers: fewer, larger pages
            raise
        self._sink.end()
        self._version = version
        self._page = PAGE
        self.synced.set()
        self._well()

    async def _watch(self) -> None:
        self.watches += 1
        began = time.monotonic()
        watch = self._client.watch(self.call, self._kind, self._version, partial=self._partial)
        async with aclosing(watch):
            async for event, found, version in watch:
                if found is None:
                    pass  # a bookmark: nothing has changed, but we may go on from here
                elif event == "DELETED":
                    self._sink.delete(found)
                else:
                    self._sink.put(found)
                self._version = version
                if self.error or time.monotonic() - began > _STEADY:
                    self._well()

    def _well(self) -> None:
        if self.error:
            self._log.info("%s: the API server answers again", self.call)
        self.error = ""
        self._told = ("", 0.0)
        self._pause = FIRST_PAUSE

    def _tell(self, message: str) -> None:
        """Log an error when it is new, and now and then while it lasts."""
        self.error = message
        told, when = self._told
        if message != told or time.monotonic() - when > _REMIND:
            self._told = (message, time.monotonic())
            self._log.warning("%s", message)


AnyReflector = Reflector[Any]
