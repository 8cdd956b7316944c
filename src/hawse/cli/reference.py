"""Reference documentation of components, made from their Configs: nothing to forget, nothing to go stale."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from hawse.component import Factory, Kind
from hawse.config import shape
from hawse.config.rules import describe
from hawse.config.schema import documentation
from hawse.config.show import plain

_DEPTH = 6  # sections that hold themselves end somewhere


class Setting(msgspec.Struct, frozen=True):
    """A key, in words."""

    path: str
    type: str
    default: str
    description: str


def settings(config: type[msgspec.Struct], prefix: str = "", depth: int = 0) -> Iterator[Setting]:
    """All keys of a Config, those of sections below theirs. `[]` is an item of a list, `<key>` any key of a map."""
    for name, field in shape.block(config).fields.items():
        path = f"{prefix}{name}"
        default = "required" if field.required else _default(field)
        yield Setting(path, _type(field.takes), default, field.takes.description)
        for suffix, inner in _blocks(field.takes) if depth < _DEPTH else ():
            yield from settings(inner, f"{path}{suffix}.", depth + 1)


def _blocks(takes: shape.Ruled) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for option in takes.options:
        if isinstance(option.shape, shape.Block):
            yield "", option.shape.type
        elif isinstance(option.shape, shape.Items):
            for suffix, inner in _blocks(option.shape.item):
                yield f"[]{suffix}", inner
        elif isinstance(option.shape, shape.Keyed):
            for suffix, inner in _blocks(option.shape.value):
                yield f".<key>{suffix}", inner


def _type(takes: shape.Ruled) -> str:
    options = [option for option in takes.options if not isinstance(option.shape, shape.Nothing)]
    return " or ".join(describe(option) for option in options)


def _default(field: shape.Field) -> str:
    value = plain(field.make_default())
    if isinstance(value, dict) and _has_block(field.takes):
        return ""  # told by the keys below
    if isinstance(value, str):
        return value if value and value.isprintable() and value == value.strip() else json.dumps(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _has_block(takes: shape.Ruled) -> bool:
    return any(isinstance(option.shape, shape.Block) for option in takes.options)


def markdown(factories: Iterable[Factory[Any]]) -> str:
    """The reference as Markdown."""
    parts = [
        "# Components",
        "Made by `hawse components -o markdown`; change the components' own files, not this one.",
    ]
    for kind in Kind:
        for factory in (one for one in factories if one.kind is kind):
            parts += _chapter(factory)
    return "\n\n".join(parts) + "\n"


def _chapter(factory: Factory[Any]) -> Iterator[str]:
    yield f"## {factory.kind}: `{factory.type}`"
    signals = "" if factory.kind is Kind.EXTENSION else f"Signals: {', '.join(sorted(factory.signals))}. "
    yield f"{signals}Stability: {factory.stability}."
    yield documentation(factory)
    rows = [
        f"| `{one.path}` | {_cell(one.type)} | {_code(one.default)} | {_cell(one.description)} |"
        for one in settings(factory.config)
    ]
    if rows:
        yield "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _code(value: str) -> str:
    return value if value in {"", "required"} else f"`{_cell(value)}`"
