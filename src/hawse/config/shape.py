"""What a configuration field takes, read from its type hint: the one model that decoding, schema and docs share."""

import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union

import msgspec

from hawse.values import Secret

# Rules of msgspec.Meta, by the names that JSON Schema has for them.
RULES = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "min_length": "minLength",
    "max_length": "maxLength",
}


class AnyValue(msgspec.Struct, frozen=True):
    """Anything."""


class Nothing(msgspec.Struct, frozen=True):
    """null."""


class Plain(msgspec.Struct, frozen=True):
    """`str`, `int`, `float` or `bool`."""

    type: type


class Parsed(msgspec.Struct, frozen=True):
    """A type of `hawse.values`, or any with a `parse` of its own."""

    type: Any

    @property
    def secret(self) -> bool:
        """Whether the value must not be shown."""
        return issubclass(self.type, Secret)

    @property
    def as_written(self) -> bool:
        """Whether numbers and `true` are the text that they are written with (`as_written = True` in the type)."""
        return bool(getattr(self.type, "as_written", False))


class Choice(msgspec.Struct, frozen=True):
    """One of some values. `make` turns what is written into what the code gets (an enum's member, say)."""

    values: tuple[Any, ...]
    make: Callable[[Any], Any]


class Items(msgspec.Struct, frozen=True):
    """A list of any length."""

    item: "Ruled"
    make: Callable[[Any], Any]


class Fixed(msgspec.Struct, frozen=True):
    """A list of so many items, each of its own shape."""

    items: tuple["Ruled", ...]


class Keyed(msgspec.Struct, frozen=True):
    """A map with keys of the user's choosing."""

    key: "Ruled"
    value: "Ruled"


class Block(msgspec.Struct, frozen=True):
    """A section with known keys: a msgspec Struct."""

    type: type[msgspec.Struct]

    @property
    def fields(self) -> Mapping[str, "Field"]:
        """The keys, in the order of the class."""
        return _fields(self.type)


class OneOf(msgspec.Struct, frozen=True):
    """Any of several shapes."""

    options: tuple["Ruled", ...]


Shape: TypeAlias = AnyValue | Nothing | Plain | Parsed | Choice | Items | Fixed | Keyed | Block | OneOf


class Ruled(msgspec.Struct, frozen=True):
    """A shape and the rules on it (by msgspec.Meta's names), with what the docs say."""

    shape: Shape
    rules: tuple[tuple[str, Any], ...] = ()
    description: str = ""
    examples: tuple[Any, ...] = ()

    @property
    def options(self) -> tuple["Ruled", ...]:
        """The alternatives, or this one alone."""
        return self.shape.options if isinstance(self.shape, OneOf) else (self,)


class Field(msgspec.Struct, frozen=True):
    """A key of a block."""

    name: str
    attribute: str
    takes: Ruled
    required: bool
    make_default: Callable[[], Any]


def shape_of(hint: Any) -> Ruled:
    """The shape of a type hint; raises TypeError for one that no configuration can have."""
    meta: list[msgspec.Meta] = []
    while typing.get_origin(hint) is Annotated:
        meta = [*(extra for extra in hint.__metadata__ if isinstance(extra, msgspec.Meta)), *meta]
        hint = hint.__origin__
    rules = tuple((name, rule) for one in meta for name in RULES if (rule := getattr(one, name)) is not None)
    description = next((one.description for one in reversed(meta) if one.description), "")
    examples = next((tuple(one.examples) for one in reversed(meta) if one.examples), ())
    return Ruled(_shape(hint), rules, description or "", examples)


def block(type_: type[msgspec.Struct]) -> Block:
    """The shape of a Struct."""
    return Block(type_)


def _shape(hint: Any) -> Shape:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {Union, types.UnionType}:
        return OneOf(tuple(option for arg in args for option in shape_of(arg).options))
    if origin is Literal:
        return Choice(args, lambda value: value)
    if origin in {tuple, list, set, frozenset, Sequence}:
        return _sequence(origin, args)
    if origin in {dict, Mapping}:
        return Keyed(shape_of(args[0]), shape_of(args[1]))
    if hint is Any:
        return AnyValue()
    if hint in {None, type(None)}:
        return Nothing()
    if isinstance(hint, type):
        return _class(hint)
    raise TypeError(f"a configuration field can't be of type {hint!r}")


def _sequence(origin: Any, args: tuple[Any, ...]) -> Shape:
    if origin is tuple and (len(args) != 2 or args[1] is not Ellipsis):
        return Fixed(tuple(shape_of(arg) for arg in args))
    return Items(shape_of(args[0]), tuple if origin is Sequence else origin)


def _class(hint: type) -> Shape:
    if callable(getattr(hint, "parse", None)):
        return Parsed(hint)
    if issubclass(hint, enum.Enum):
        return Choice(tuple(member.value for member in hint), hint)
    if issubclass(hint, msgspec.Struct):
        return Block(hint)
    if hint in {str, int, float, bool}:
        return Plain(hint)
    bare: dict[type, Shape] = {
        dict: Keyed(Ruled(Plain(str)), Ruled(AnyValue())),
        list: Items(Ruled(AnyValue()), list),
        tuple: Items(Ruled(AnyValue()), tuple),
        object: AnyValue(),
    }
    if hint in bare:
        return bare[hint]
    raise TypeError(f"a configuration field can't be of type {hint!r}")


@cache
def _fields(type_: type[msgspec.Struct]) -> Mapping[str, Field]:
    return {found.encode_name: _field(found) for found in msgspec.structs.fields(type_)}


def _field(found: Any) -> Field:
    make: Callable[[], Any] = found.default_factory
    if found.default is not msgspec.NODEFAULT:
        default = found.default

        def make() -> Any:
            return default

    return Field(found.encode_name, found.name, shape_of(found.type), found.required, make)
