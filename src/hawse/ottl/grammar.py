"""OTTL's conditions as text → a tree: comparisons and functions, joined by `and`, `or`, `not` and brackets."""

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

_LONGEST = 16 << 10  # characters; the chart's lists of metric names have 4,000
_DEEPEST = 40

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:\\.|[^"\\])*")
  | (?P<float>[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+)
  | (?P<int>[+-]?\d+)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<op>==|!=|<=|>=|<|>)
  | (?P<mark>[\[\](),.])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(?:([abfnrtv\\"])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3}))|\\(.)')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


class OttlError(ValueError):
    """A condition that is not to be had here. `fix` says what would do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class Path(msgspec.Struct, frozen=True):
    """`resource.attributes["k"]`: names joined by dots, then keys in brackets."""

    name: str
    keys: tuple[str, ...] = ()
    at: int = 0


class Constant(msgspec.Struct, frozen=True):
    """Text, a number, true, false or nil."""

    value: str | float | bool | None


class Enum(msgspec.Struct, frozen=True):
    """`SEVERITY_NUMBER_ERROR`."""

    name: str
    at: int = 0


class Call(msgspec.Struct, frozen=True):
    """`IsMatch(name, "x")`."""

    name: str
    arguments: tuple["Value", ...]
    at: int = 0


class Comparison(msgspec.Struct, frozen=True):
    """Two values, and one of == != < <= > >=."""

    left: "Value"
    op: str
    right: "Value"
    at: int = 0


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    of: "Tree"


class Joined(msgspec.Struct, frozen=True):
    """All (`word` is "and") or any of several."""

    word: str
    parts: tuple["Tree", ...]


Value: TypeAlias = Path | Constant | Enum | Call
Tree: TypeAlias = Comparison | Not | Joined | Call | Constant


def read(text: str) -> Tree:
    """The tree of a condition. Raises OttlError, which says where."""
    if len(text) > _LONGEST:
        raise OttlError(f"has {len(text)} characters, at most {_LONGEST} are read", "write several conditions")
    reader = _Reader(text)
    tree = reader.either(0)
    reader.end()
    return tree


def statement(text: str) -> str:
    """The condition of `route() where …`; nothing for `route()` alone."""
    match = re.fullmatch(r"\s*route\s*\(\s*\)\s*(?:where\b(.*))?", text, re.DOTALL)
    if match is None:
        raise OttlError("is no statement that routes", 'write route() where attributes["key"] == "value"')
    return match[1] or "true"


Token: TypeAlias = tuple[str, str, int]


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            fix = "close the text with a quote" if text[at] == '"' else ""
            raise OttlError(f"character {at + 1}: {text[at : at + 10]!r} cannot be read", fix)
        kind = match.lastgroup
        assert kind is not None
        yield kind, match[kind], match.start(kind) + 1
        at = match.end()


class _Reader:
    """Takes tokens one by one; positions are characters from 1."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("end", "", len(text) + 1)]
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += token[0] != "end"
        return token

    def _word(self, word: str) -> bool:
        found = self._next[:2] == ("word", word)
        self._at += found
        return found

    def _expect(self, mark: str) -> None:
        if self._next[1] != mark:
            raise self._unexpected(f"expected {mark!r}")
        self._take()

    def _unexpected(self, wanted: str, fix: str = "") -> OttlError:
        _, text, at = self._next
        return OttlError(f"character {at}: {wanted}, got " + (repr(text) if text else "the end"), fix)

    def end(self) -> None:
        if self._next[0] != "end":
            raise self._unexpected("expected and, or, or the end", 'join conditions by "and" or "or"')

    def either(self, depth: int) -> Tree:
        return self._joined("or", depth)

    def _joined(self, word: str, depth: int) -> Tree:
        def one() -> Tree:
            return self._joined("and", depth) if word == "or" else self._one(depth)

        parts = [one()]
        while self._word(word):
            parts.append(one())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _one(self, depth: int) -> Tree:
        if depth > _DEEPEST:
            raise self._unexpected(f"brackets nest deeper than {_DEEPEST}")
        if self._word("not"):
            return Not(self._one(depth + 1))
        if self._next[1] == "(" and self._next[0] == "mark":
            self._take()
            inner = self.either(depth + 1)
            self._expect(")")
            return inner
        left = self._value(depth)
        if self._next[0] == "op":
            _, op, at = self._take()
            return Comparison(left, op, self._value(depth), at)
        if isinstance(left, Call) or (isinstance(left, Constant) and isinstance(left.value, bool)):
            return left
        raise self._unexpected("expected a comparison (==, !=, <, <=, >, >=)", 'such as name == "up"')

    def _value(self, depth: int) -> Value:
        kind, text, at = self._next
        if kind == "string":
            self._take()
            return Constant(_unquoted(text, at))
        if kind in {"int", "float"}:
            self._take()
            return Constant(int(text) if kind == "int" else float(text))
        if kind != "word":
            fix = "write texts in double quotes" if text == "'" else ""
            raise self._unexpected("expected a path, a function, a text or a number", fix)
        self._take()
        if text in {"true", "false", "nil"}:
            return Constant({"true": True, "false": False, "nil": None}[text])
        if self._next[1] == "(":
            return self._call(text, at, depth)
        if text.isupper():
            return Enum(text, at)
        return self._path(text, at)

    def _call(self, name: str, at: int, depth: int) -> Call:
        if depth > _DEEPEST:
            raise self._unexpected(f"functions nest deeper than {_DEEPEST}")
        self._expect("(")
        arguments: list[Value] = []
        while self._next[1] != ")" or self._next[0] != "mark":
            if arguments:
                self._expect(",")
            arguments.append(self._value(depth + 1))
        self._expect(")")
        return Call(name, tuple(arguments), at)

    def _path(self, name: str, at: int) -> Path:
        names = [name]
        while self._next[:2] == ("mark", "."):
            self._take()
            kind, text, _ = self._next
            if kind != "word":
                raise self._unexpected("expected a name after the dot")
            self._take()
            names.append(text)
        keys = []
        while self._next[:2] == ("mark", "["):
            self._take()
            kind, text, where = self._next
            if kind != "string":
                raise self._unexpected("expected a key in double quotes", 'such as attributes["key"]')
            self._take()
            keys.append(_unquoted(text, where))
            self._expect("]")
        return Path(".".join(names), tuple(keys), at)


def _unquoted(text: str, at: int) -> str:
    """The text of a string token, with the escapes of Go."""

    def put(match: re.Match[str]) -> str:
        if match[6] is not None:
            where = at + match.start() + 1
            message = f"character {where}: {match[0]!r} is no escape"
            raise OttlError(message, f"a backslash is written twice: \\{match[0]}")
        if match[1] is not None:
            return _ESCAPES[match[1]]
        code = int(match[5], 8) if match[5] is not None else int(match[2] or match[3] or match[4], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise OttlError(f"character {at + match.start() + 1}: {match[0]!r} is no character")
        return chr(code)

    return _ESCAPE.sub(put, text[1:-1])
