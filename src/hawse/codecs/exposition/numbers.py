"""Numbers as Go reads and writes them, since that is what Prometheus' formats say (strconv.ParseFloat, FormatFloat)."""

import math
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


def shortest(value: float) -> str:
    """The shortest text that reads back as the same number, as Prometheus writes `le` and `quantile` (FormatFloat 'g').

    Exponents below −4 and from 21 on are written with `e`, and at least two digits: 1e-05, 5, 1e+21, +Inf.
    """
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    power = int(exponent) if exponent else 0
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign + "0"
    # The number is 0.DIGITS × 10^point.
    point = len(whole) + power - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    if -4 <= point - 1 < 21:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        if len(digits) <= point:
            return sign + digits + "0" * (point - len(digits))
        return f"{sign}{digits[:point]}.{digits[point:]}"
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+03d}"
