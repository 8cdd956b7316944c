"""What is written about data that will never be taken: a line of JSON, with the data as OTLP JSON."""

import base64
import logging
from datetime import UTC, datetime

import msgspec

from hawse.batch import Batch, Group, Resource
from hawse.codecs import otlp_json
from hawse.component import RequestExporter
from hawse.pipeline.attempts import Refusal
from hawse.state.dead_letters import DeadLetterFile
from hawse.wire import WireError

_encode = msgspec.json.Encoder().encode


class Letters:
    """The dead letters of one exporter. `file` is None where none are kept."""

    def __init__(
        self,
        exporter: RequestExporter,
        name: str,
        file: DeadLetterFile | None,
        log: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._exporter = exporter
        self._name = name
        self._file = file
        self._log = log

    def keep(self, refusal: Refusal) -> Batch:
        """Write a letter; give what was inside, for the account. That the disk does not take one is told, no more."""
        request = refusal.request
        try:
            batch = self._exporter.restore(request)
        except WireError:
            batch = Batch(request.signal, [Group(Resource(), (), request.items)])
            data = b"null"
        else:
            data = b"null" if self._file is None else _json(batch)
        if self._file is not None:
            self._write(self._file, refusal, data)
        return batch

    def _write(self, file: DeadLetterFile, refusal: Refusal, data: bytes) -> None:
        request = refusal.request
        letter = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "exporter": str(self._name),
            "signal": str(request.signal),
            "items": request.items,
            "reason": refusal.answer.reason,
        }
        if data == b"null":  # what can't be shown is kept as it was to be sent
            letter["request"] = base64.b64encode(request.body).decode()
        try:
            if not file.add(_encode({**letter, "data": msgspec.Raw(data)})):
                self._log.warning("%d items are too large for %s: they are not in it", request.items, file.path)
                letter.pop("request", None)
                file.add(_encode({**letter, "data": None}))
        except OSError as error:
            self._log.error("cannot keep what was refused in %s: %s", file.path, error)


def _json(batch: Batch) -> bytes:
    try:
        return otlp_json.encode(batch)
    except WireError:
        return b"null"
