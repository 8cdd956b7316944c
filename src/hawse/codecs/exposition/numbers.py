"""Numbers as Go reads them, since that is what Prometheus' formats say (strconv.ParseFloat)."""

import re

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_HEX = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+")
_WORDS = {"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "nan", "+nan", "-nan"}


def parse(text: str) -> float:
    """A sample's value. Raises ValueError where it is no number."""
    if _PLAIN.fullmatch(text):
        return float(text)
    if text.lower() in _WORDS:
        return float(text)
    if _HEX.fullmatch(text):
        return float.fromhex(text)
    raise ValueError(f"{text!r} is no number")
