"""Inputs made of good ones, by chance: flipped, cut, doubled, spliced, with lengths and numbers that lie.

The same seed gives the same inputs. For Pythons without atheris: it does not see which code an input reaches.
"""

import random
from collections.abc import Callable, Iterator, Sequence

_NUMBERS = (0, 1, 2, 5, 8, 10, 18, 26, 34, 0x1A, 0x7F, 0x80, 0xFE, 0xFF, 0x22, 0x5B, 0x7B, 0x0A, 0x0D, 0x20)
_INTEGERS = (0, 1, 127, 128, 255, 256, 16383, 16384, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
LONGEST = 8192


def inputs(seeds: Sequence[bytes], tokens: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """The good ones first, then mutants without end."""
    chance = random.Random(seed)
    yield from seeds
    pool = [bytearray(one) for one in seeds] or [bytearray(b"\0" * 16)]
    while True:
        data = bytearray(chance.choice(pool)) if chance.random() < 0.97 else bytearray(chance.randbytes(64))
        for _ in range(1 << chance.randrange(5)):
            chance.choice(_CHANGES)(data, chance, tokens, pool)
        yield bytes(data[:LONGEST])


_Change = Callable[[bytearray, random.Random, Sequence[bytes], list[bytearray]], None]


def _at(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_NUMBERS)


def _shift(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    """A length that is off by a little is what finds missing checks."""
    if data:
        at = chance.randrange(len(data))
        data[at] = (data[at] + chance.choice((-3, -2, -1, 1, 2, 3))) & 255


def _delete(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    at = _at(data, chance)
    del data[at : at + chance.randint(1, 16)]


def _double(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    at = _at(data, chance)
    data[at:at] = data[at : at + chance.randint(1, 64)] * chance.choice((1, 1, 2, 8))


def _insert(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    at = _at(data, chance)
    data[at:at] = chance.choice(tokens) if tokens else chance.randbytes(chance.randint(1, 8))


def _over(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    token = chance.choice(tokens) if tokens else chance.randbytes(chance.randint(1, 8))
    at = _at(data, chance)
    data[at : at + len(token)] = token


def _number(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    value = chance.choice(_INTEGERS)
    at = _at(data, chance)
    kind = chance.randrange(3)
    if kind == 0:
        data[at : at + 1] = _varint(value)
    elif kind == 1:
        data[at:at] = str(value).encode()
    else:
        data[at : at + 8] = value.to_bytes(8, chance.choice(("little", "big")))


def _splice(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    other = chance.choice(pool)
    data[_at(data, chance) :] = other[_at(other, chance) :]


def _cut(data: bytearray, chance: random.Random, tokens: Sequence[bytes], pool: list[bytearray]) -> None:
    del data[_at(data, chance) :]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


_CHANGES: tuple[_Change, ...] = (
    _flip,
    _set,
    _set,
    _shift,
    _shift,
    _delete,
    _double,
    _insert,
    _over,
    _number,
    _splice,
    _cut,
)
