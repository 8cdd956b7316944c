"""The program's own log, to standard error: `service.telemetry.logs`, with the Collector's encodings and sampling."""

import datetime as dt
import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec

from hawse.component import Kind
from hawse.config.settings import Logs, Sampling

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}
_NAMES[logging.CRITICAL] = "error"
# Attributes that every LogRecord has; what else is there came in by `extra`.
_STANDARD = {*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName"}


class ComponentLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that says which component speaks, and keeps fields that a call adds with `extra`."""

    def __init__(self, kind: Kind, id_: str) -> None:
        super().__init__(logging.getLogger(f"hawse.{kind}"), {"component_kind": str(kind), "component_id": id_})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the component's fields to those of the call."""
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


def set_up(settings: Logs, stream: TextIO | None = None) -> None:
    """Make the loggers below `hawse` write as configured; called again, it replaces what was before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json(settings.initial_fields) if settings.encoding == "json" else Console())
    if settings.sampling.enabled:
        handler.addFilter(Sampler(settings.sampling))
    root = logging.getLogger("hawse")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(_LEVELS[settings.level.lower()])


def _time(record: logging.LogRecord) -> str:
    made = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return made.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _component(record: logging.LogRecord) -> tuple[str, str]:
    return getattr(record, "component_kind", ""), getattr(record, "component_id", "")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        key: value
        for key, value in record.__dict__.items()
        if key not in _STANDARD and not key.startswith("component_")
    }


class Console(logging.Formatter):
    """`2026-11-24T13:21:11.123Z warn receiver otlp: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more if there is a traceback."""
        kind, id_ = _component(record)
        who = f"{kind} {id_}: " if id_ else ""
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {_NAMES.get(record.levelno, record.levelname)} {who}{record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One JSON object a line, with the Collector's keys."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "level": _NAMES.get(record.levelno, record.levelname),
            "ts": _time(record),
            "msg": record.getMessage(),
            **self._fields,
        }
        kind, id_ = _component(record)
        if id_:
            line |= {"otelcol.component.id": id_, "otelcol.component.kind": kind}
        line |= _extra(record)
        if record.exc_info:
            line["stacktrace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class Sampler(logging.Filter):
    """Lets through the first so many of one message in each tick, then one in so many, saying how many it kept back.

    Messages are the same if their text before formatting, level and component are.
    """

    def __init__(self, settings: Sampling) -> None:
        super().__init__()
        self._settings = settings
        self._tick = 0.0
        self._seen: dict[tuple[Any, ...], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        now = time.monotonic()
        if now - self._tick >= self._settings.tick:
            self._tick = now
            self._seen.clear()
        key = (record.levelno, record.msg, _component(record))
        count = self._seen[key] = self._seen.get(key, 0) + 1
        beyond = count - self._settings.initial
        return beyond <= 0 or (self._settings.thereafter > 0 and beyond % self._settings.thereafter == 0)
