"""Names and texts of Prometheus' series, made from OTLP's.

Rules: OpenTelemetry's "Prometheus and OpenMetrics Compatibility" (OTLP Metric points to Prometheus), where it is silent
those that the Collector's exporters keep to. What came from Prometheus is not touched: see `prometheus_series`.
"""

import re
from functools import lru_cache

_NO_NAME = re.compile(r"[^a-zA-Z0-9:_]+|__+")
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]+|__+")
_WORD = re.compile(r"[a-zA-Z0-9:]+")

# UCUM's abbreviations to the words that Prometheus uses. Unknown units stay as they are, "1" is none.
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "KBy": "kilobytes", "kBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes",
    "TBy": "terabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


@lru_cache(4096)
def metric_name(name: str, unit: str, kind: str, namespace: str, *, suffixes: bool) -> str:
    """The name of a metric that is not Prometheus' own. `kind` is its Prometheus type; "" if nothing is left of it."""
    if suffixes:
        words = _WORD.findall(name)
        if words:
            words = _suffixed(words, unit, kind)
    else:
        words = [word for word in _NO_NAME.sub("_", name).strip("_").split("_") if word]
    if not words:
        return ""
    if namespace:
        words = [*_WORD.findall(namespace), *words]
    made = "_".join(words)
    return f"_{made}" if made[0].isdigit() else made


def _suffixed(words: list[str], unit: str, kind: str) -> list[str]:
    main, per = _unit_words(unit)
    for suffix in (main, per):
        if suffix and suffix not in words:
            words.append(suffix)
    if kind == "counter":
        words = [*(word for word in words if word != "total"), "total"]
    if unit == "1" and kind == "gauge":
        words = [*(word for word in words if word != "ratio"), "ratio"]
    return words


def _unit_words(unit: str) -> tuple[str, str]:
    """`By/s` is ("bytes", "per_second"). What is in braces counts something, and is no unit."""
    main, _, per = (part.strip() for part in unit.partition("/"))
    first = "" if "{" in main or "}" in main else _clean(_UNITS.get(main, main))
    second = "" if "{" in per or "}" in per else _clean(_PER.get(per, per))
    return first, f"per_{second}" if second else ""


def _clean(unit: str) -> str:
    return "_".join(_WORD.findall(unit))


@lru_cache(1024)
def unit_name(unit: str) -> str:
    """The unit as metadata has it: `bytes_per_second`."""
    return "_".join(part for part in _unit_words(unit) if part)


@lru_cache(4096)
def label_name(key: str) -> str:
    """An attribute's key as a label name: `http.method` is `http_method`, `1st` is `key_1st`. Never a reserved one."""
    made = _NO_LABEL.sub("_", key) or "_"
    if made[0].isdigit():
        return f"key_{made}"
    return f"key{made}" if made[0] == "_" else made


def number(value: float) -> str:
    """As Go's strconv.FormatFloat(value, 'g', -1, 64) writes it: 0.005, 1e-05, 5, 1e+06, +Inf, NaN."""
    text = repr(float(value))
    if text[-1] in "fn":  # inf, -inf, nan
        return {"inf": "+Inf", "-inf": "-Inf"}.get(text, "NaN")
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = (whole + part).lstrip("0")
    if not digits:
        return f"{sign}0"
    # value = 0.<digits> × 10^point
    point = (len(whole) if whole.strip("0") else len(digits) - len(part)) + int(exponent or 0)
    digits = digits.rstrip("0")
    if not -4 <= point - 1 < 6:
        return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}"
