"""Type hints → shapes."""

import pytest

from hawse.config import shape
from hawse.config.rules import describe


@pytest.mark.parametrize("hint", [complex, tuple[bytes, ...], type, lambda: None])
def test_hints_that_no_configuration_can_have(hint):
    with pytest.raises(TypeError, match="can't be of type"):
        shape.shape_of(hint)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (str | None, "text or nothing"),
        (list[int], "a list of a whole number"),
        (dict, "a map of anything"),
        (tuple[str, int], "a list"),
        (frozenset[str], "a list of text"),
    ],
)
def test_words(hint, words):
    assert describe(shape.shape_of(hint)) == words
