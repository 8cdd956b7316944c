"""Durations, sizes and texts as Prometheus reads and writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.prometheus.values import Base2Bytes, Pattern, PromDuration, Text


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("0", 0, "0s"),
        (0, 0, "0s"),
        ("0s", 0, "0s"),
        ("324ms", 0.324, "324ms"),
        ("15s", 15, "15s"),
        ("90s", 90, "1m30s"),
        ("1d12h", 129600, "1d12h"),
        ("1w", 604800, "1w"),
        ("2w3d", 1468800, "17d"),
        ("1y", 31536000, "1y"),
        ("1y1w", 32140800, "372d"),
        ("4d1h700ms", 349200.7, "4d1h700ms"),
    ],
)
def test_durations(text, seconds, written):
    assert PromDuration.parse(text) == pytest.approx(seconds)
    assert str(PromDuration.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.5s",
        "-1s",
        "1s1m",
        "1s1s",
        "10 s",
        "1S",
        "1µs",
        "1us",
        "ms",
        None,
        True,
        1,
        0.0,
        [],
        "9" * 60 + "s",
        "300y",
    ],
)
def test_no_durations(text):
    with pytest.raises(ValueError, match="is no duration; write whole numbers with units"):
        PromDuration.parse(text)


@given(st.integers(0, 9 * 10**12))
def test_durations_are_read_as_they_are_written(milliseconds):
    assert PromDuration.parse(str(PromDuration(milliseconds / 1000))) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (5, 5),
        ("0", 0),
        ("10B", 10),
        ("1KB", 1024),
        ("1KiB", 1024),
        ("10MB", 10 << 20),
        ("1.5MiB", 3 << 19),
        ("2GB", 2 << 30),
    ],
)
def test_sizes(text, size):
    assert Base2Bytes.parse(text) == size


@pytest.mark.parametrize("text", ["", "x", "1ZB", "-1", -1, True, None, [], "1 MB x"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="is no size"):
        Base2Bytes.parse(text)


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (1, "1"), (True, "true"), (False, "false"), (None, ""), (1.5, "1.5")]
)
def test_texts(value, text):
    assert Text.parse(value) == Pattern.parse(value) == text


def test_a_list_is_no_text():
    with pytest.raises(ValueError, match="expected text, got list"):
        Text.parse([])
