"""Secrets and ConfigMaps that the allocator's configuration names, and no others: read one by one, by name.

They are read again every minute, for credentials are renewed in place.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from hawse.allocator.safety import NamedObject, Refusal
from hawse.component import Calls, Need
from hawse.diagnostics import HawseError
from hawse.kube.client import KubeClient
from hawse.kube.errors import ApiError, Call

_EVERY = 60.0  # seconds
_log = logging.getLogger("hawse.allocator")


class _Data(msgspec.Struct, gc=False):
    """v1 Secret and ConfigMap. A Secret's `data` is base64."""

    data: dict[str, str] | None = None


class _Key(NamedTuple):
    resource: Literal["secrets", "configmaps"]
    namespace: str
    name: str


class Named:
    """What there is in them. `changed` is called when something in one of them has."""

    def __init__(
        self, secrets: tuple[NamedObject, ...], config_maps: tuple[NamedObject, ...], changed: Callable[[], None]
    ) -> None:
        self._keys = [_Key("secrets", one.namespace, one.name) for one in secrets]
        self._keys += [_Key("configmaps", one.namespace, one.name) for one in config_maps]
        self._texts: dict[_Key, Mapping[str, str]] = {}
        self._errors: dict[_Key, str] = {}
        self._changed = changed
        self.read = asyncio.Event()  # once each was asked for

    def secret(self, namespace: str, name: str, key: str) -> str:
        """The text at a key of a Secret. Raises Refusal."""
        return self._text(_Key("secrets", namespace, name), key)

    def config_map(self, namespace: str, name: str, key: str) -> str:
        """The text at a key of a ConfigMap. Raises Refusal."""
        return self._text(_Key("configmaps", namespace, name), key)

    def _text(self, where: _Key, key: str) -> str:
        kind = "Secret" if where.resource == "secrets" else "ConfigMap"
        setting = "secrets" if where.resource == "secrets" else "config_maps"
        what = f"the {kind} {where.namespace}/{where.name}"
        if where not in self._keys:
            raise Refusal(f"{what} is not one that the allocator may read (not in {setting})")
        if where not in self._texts:
            raise Refusal(f"{what} can't be read: {self._errors.get(where, 'not yet')}")
        if key not in self._texts[where]:
            raise Refusal(f"{what} has no key {key!r}")
        return self._texts[where][key]

    async def run(self, client: KubeClient) -> None:
        """Read them, again and again."""
        while True:
            found = [await self._read(client, key) for key in self._keys]
            if any(found):
                self._changed()
            self.read.set()
            await asyncio.sleep(_EVERY)

    async def _read(self, client: KubeClient, key: _Key) -> bool:
        """Whether something is different now."""
        try:
            answer = await client.read(Call("", "v1", key.resource, key.namespace), key.name, _Data)
            texts = _decoded(answer.data or {}, base64_=key.resource == "secrets")
        except (ApiError, HawseError, ValueError) as problem:
            if self._errors.get(key) != str(problem):
                _log.warning("%s %s/%s: %s", key.resource, key.namespace, key.name, problem)
            gone = isinstance(problem, ApiError) and problem.status in {403, 404}
            before = self._errors.get(key), key in self._texts
            self._errors[key] = str(problem)
            if gone:  # what is only out of reach for now is still what it was
                self._texts.pop(key, None)
            return before != (str(problem), key in self._texts)
        self._errors.pop(key, None)
        before_texts = self._texts.get(key)
        self._texts[key] = texts
        return before_texts != texts


def _decoded(data: Mapping[str, str], *, base64_: bool) -> dict[str, str]:
    if not base64_:
        return dict(data)
    texts = {}
    for key, value in data.items():
        try:
            texts[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # not a text, so no credential for a header or a PEM
    return texts


def needs(secrets: tuple[NamedObject, ...], config_maps: tuple[NamedObject, ...]) -> Iterator[Need]:
    """The verb get on each by its name."""
    for resource, listed in (("secrets", secrets), ("configmaps", config_maps)):
        for namespace in dict.fromkeys(one.namespace for one in listed):
            names = tuple(dict.fromkeys(one.name for one in listed if one.namespace == namespace))
            yield Calls("", resource, ("get",), namespace, "named in the target allocator's configuration", names)
