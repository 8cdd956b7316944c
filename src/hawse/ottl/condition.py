"""A tree → a test, in two steps: what depends on the resource is settled once for a resource, the rest for each item.

Everything here compares something with a constant. So a condition is a boolean function of such comparisons ("leaves"),
and resources that answer all of theirs alike share one test, and whatever a caller remembers of it.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hawse.batch import AttributeValue
from hawse.codecs.otlp_records import as_text
from hawse.config.nearest import did_you_mean
from hawse.ottl import grammar
from hawse.ottl.grammar import Call, Comparison, Constant, Enum, Joined, Not, OttlError, Path, Tree, Value
from hawse.ottl.paths import ENUM_VALUES, PATHS
from hawse.values import Regex

Test: TypeAlias = Callable[[Any], bool]
Attributes: TypeAlias = Mapping[str, AttributeValue]

_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_REMEMBERED = 16384  # texts of which a pattern is known to match or not

_ON_POINTS = ("HasAttrKeyOnDatapoint", "HasAttrOnDatapoint")
_FUNCTIONS = ("IsMatch", "HasPrefix", "HasSuffix", *_ON_POINTS)


class Condition:
    """A condition for one context.

    `uses` names what it reads of an item, nothing for one on the resource alone; `keys` are the item's attributes that
    it reads.
    """

    def __init__(self, text: str, context: str) -> None:
        """Raises OttlError."""
        self.text = text
        self.context = context
        self._making = _Making(context)
        self._make = self._making.tree(grammar.read(text))
        self.uses = frozenset(self._making.uses)
        self.keys = frozenset(self._making.keys)

    def settle(self, attributes: Attributes) -> tuple[bool, ...]:
        """What a resource answers to the comparisons that are about it."""
        return tuple([leaf(attributes) for leaf in self._making.leaves])

    def test(self, settled: tuple[bool, ...]) -> "bool | Test":
        """The rest of the condition where resources answer so: settled, too, or a test of items."""
        return self._make(settled)


def parse(text: str, context: str) -> Condition:
    """A condition in one of `paths.CONTEXTS`. Raises OttlError."""
    return Condition(text, context)


def parse_statement(text: str, context: str) -> Condition:
    """`route() where CONDITION`. Raises OttlError."""
    return Condition(grammar.statement(text), context)


Maker: TypeAlias = Callable[[tuple[bool, ...]], "bool | Test"]


class _Making:
    """Turns a tree into functions. `leaves` are the questions to a resource."""

    def __init__(self, context: str) -> None:
        self._context = context
        self._paths = PATHS[context]
        self.leaves: list[Callable[[Attributes], bool]] = []
        self.uses: set[str] = set()
        self.keys: set[str] = set()

    def tree(self, tree: Tree) -> Maker:
        if isinstance(tree, Constant):
            value = bool(tree.value)
            return lambda _: value
        if isinstance(tree, Not):
            return _negated(self.tree(tree.of))
        if isinstance(tree, Joined):
            return _joined([self.tree(part) for part in tree.parts], decides=tree.word == "or")
        if isinstance(tree, Call):
            return self._call(tree)
        return self._comparison(tree)

    def _comparison(self, tree: Comparison) -> Maker:
        left, op, right = tree.left, tree.op, tree.right
        if isinstance(left, Constant | Enum) and isinstance(right, Path | Call):
            left, op, right = right, _MIRRORED.get(op, op), left
        if isinstance(left, Call) and isinstance(right, Constant) and isinstance(right.value, bool):
            if op in {"==", "!="}:
                call = self._call(left)
                return call if (right.value is True) == (op == "==") else _negated(call)
        elif isinstance(left, Path) and isinstance(right, Constant | Enum):
            constant = self._constant(right)
            return self._leaf(left, lambda value: _compared(op, value, constant))
        for side in (left, right):
            if isinstance(side, Call):
                _known(side)
        message = f"character {tree.at}: compares what is not a path with a constant"
        raise OttlError(message, "write a path on one side and a text, number, true, false or nil on the other")

    def _constant(self, value: Value) -> Any:
        if isinstance(value, Constant):
            return value.value
        assert isinstance(value, Enum)
        if value.name not in ENUM_VALUES:
            fix = did_you_mean(value.name, ENUM_VALUES)
            raise OttlError(f"character {value.at}: there is no enum {value.name}", fix)
        return ENUM_VALUES[value.name]

    def _call(self, call: Call) -> Maker:
        name, arguments = call.name, call.arguments
        _known(call)
        if name in _ON_POINTS:
            return self._on_points(call)
        usage = {"IsMatch": 'IsMatch(name, "pattern")'}.get(name, f'{name}(name, "text")')
        match arguments:
            case (Path() as path, Constant(value=str() as text)):
                return self._leaf(path, _FUNCTION[name](text))
        raise OttlError(f"character {call.at}: {name} takes a path and a text", f"write {usage}")

    def _on_points(self, call: Call) -> Maker:
        """Whether any data point has an attribute: of metrics only."""
        if self._context != "metric":
            fix = 'write attributes["key"] != nil' if self._context == "datapoint" else ""
            raise OttlError(f"character {call.at}: {call.name} is a function of the metric context", fix)
        texts = [one.value for one in call.arguments if isinstance(one, Constant)]
        wanted = 1 if call.name == _ON_POINTS[0] else 2
        if len(texts) != wanted or len(call.arguments) != wanted or not isinstance(texts[0], str):
            usage = call.name + ('("key")' if wanted == 1 else '("key", "value")')
            raise OttlError(f"character {call.at}: {call.name} takes {wanted} constant(s)", f"write {usage}")
        self.uses.add("points")
        key = texts[0]
        if wanted == 1:
            return lambda _: lambda item: any(key in attributes for attributes in item.points_with(key))
        value = texts[1]
        return lambda _: (
            lambda item: any(key in found and _compared("==", found[key], value) for found in item.points_with(key))
        )

    def _leaf(self, path: Path, judge: Callable[[Any], bool]) -> Maker:
        read = self._paths.get(path.name)
        if read is None:
            longer = [known for known in self._paths if known.endswith(f".{path.name}")]
            fix = did_you_mean(path.name, self._paths, what=f"paths of the {self._context} context")
            fix = f'did you mean "{longer[0]}"?' if longer else fix
            raise OttlError(f"character {path.at}: the path {path.name} is not supported", fix)
        of_map = read in {"resource", "attributes"}
        if len(path.keys) != of_map:
            fix = f'write {path.name}["key"]' if of_map else f"write {path.name}"
            what = "needs one key" if of_map else "takes no key"
            raise OttlError(f"character {path.at}: {path.name} {what}", fix)
        if read == "resource":
            return self._of_resource(path.keys[0], judge)
        self.uses.add(read)
        if read == "attributes":
            key = path.keys[0]
            self.keys.add(key)
            return lambda _: lambda item: judge(item.attributes.get(key))
        get = operator.attrgetter(read)
        return lambda _: lambda item: judge(get(item))

    def _of_resource(self, key: str, judge: Callable[[Any], bool]) -> Maker:
        number = len(self.leaves)
        self.leaves.append(lambda attributes: judge(attributes.get(key)))
        return lambda settled: settled[number]


def _known(call: Call) -> None:
    if call.name not in _FUNCTIONS:
        fix = did_you_mean(call.name, _FUNCTIONS, what="functions here")
        raise OttlError(f"character {call.at}: the function {call.name} is not supported", fix)


def _negated(make: Maker) -> Maker:
    def made(settled: tuple[bool, ...]) -> bool | Test:
        inner = make(settled)
        return (lambda item: not inner(item)) if callable(inner) else not inner

    return made


def _joined(makers: Sequence[Maker], *, decides: bool) -> Maker:
    """`decides` is the answer of one part that settles all: True for `or`, False for `and`."""

    def made(settled: tuple[bool, ...]) -> bool | Test:
        parts = [make(settled) for make in makers]
        if decides in parts:
            return decides
        tests = [part for part in parts if callable(part)]
        if not tests:
            return not decides
        if len(tests) == 1:
            return tests[0]
        if len(tests) == 2:
            one, two = tests
            return (lambda item: one(item) or two(item)) if decides else (lambda item: one(item) and two(item))
        found = any if decides else all
        return lambda item: found(test(item) for test in tests)

    return made


_NUMBERS = (int, float)


def _compared(op: str, value: Any, constant: Any) -> bool:
    """As OTTL compares: values of different types are different, and neither is more than the other."""
    alike = type(value) is type(constant) or (
        isinstance(value, _NUMBERS)
        and isinstance(constant, _NUMBERS)
        and not isinstance(value, bool)
        and not isinstance(constant, bool)
    )
    if not alike:
        return op == "!="
    if value is None:
        return op in {"==", "<=", ">="}
    return _OPS[op](value, constant)


def _matching(pattern: str) -> Callable[[Any], bool]:
    try:
        search = Regex.parse(pattern).compiled.search
    except ValueError as error:
        raise OttlError(str(error), "patterns are in RE2's syntax, backslashes written twice") from None
    known: dict[str, bool] = {}

    def judge(value: Any) -> bool:
        if value is None:
            return False
        text = value if isinstance(value, str) else as_text(value)
        found = known.get(text)
        if found is None:
            found = search(text) is not None
            if len(text) <= 256:  # long ones seldom come again
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[text] = found
        return found

    return judge


def _with_prefix(prefix: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value.startswith(prefix)


def _with_suffix(suffix: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value.endswith(suffix)


_FUNCTION = {"IsMatch": _matching, "HasPrefix": _with_prefix, "HasSuffix": _with_suffix}
