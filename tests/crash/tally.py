"""What was written against what the backend has, record by record, byte for byte."""

from collections.abc import AsyncIterator, Iterable

import msgspec

from .writers import Writer


class _Record(msgspec.Struct):
    time_unix_nano: str
    body: str = ""
    body_base64: str = ""
    resource: dict[str, object] = {}


class Tally(msgspec.Struct):
    """The comparison. `wrong` are records that nobody wrote so, `missing` those that never arrived, as examples."""

    written: int = 0
    delivered: int = 0
    missing: int = 0
    duplicates: int = 0
    wrong: int = 0
    examples: list[str] = []


_decode = msgspec.json.Decoder(_Record).decode
_EXAMPLES = 12


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
    assert not rest, "the dump ended inside a line"


class Comparison:
    """Takes the dump line by line."""

    def __init__(self, writers: Iterable[Writer]) -> None:
        self._logs = {writer.written.name: (writer, [0] * len(writer.written.records)) for writer in writers}
        self.tally = Tally(written=sum(len(seen) for _, seen in self._logs.values()))

    def add(self, line: bytes) -> None:
        record = _decode(line)
        self.tally.delivered += 1
        fault = self._fault(record)
        if fault:
            self.tally.wrong += 1
            self._example(f"{fault}: {record.time_unix_nano} {record.body[:100]!r}")

    def _fault(self, record: _Record) -> str:
        head, _, _ = record.body.partition(" ")
        name, _, number = head.removeprefix("#").partition(":")
        if name not in self._logs or not number.isdigit():
            return "no record begins so"
        writer, seen = self._logs[name]
        index = int(number)
        if index >= len(seen):
            return "never written"
        if record.body_base64 or record.body != writer.written.texts(name, index):
            return f"another text than was written ({len(record.body)} characters)"
        when, stream, restart = writer.written.records[index]
        told = record.resource
        expected = {"log.iostream": stream, "k8s.container.restart_count": restart, "pod_id": writer.written.uid}
        for key, value in expected.items():
            if told.get(key, told.get("k8s.pod.uid") if key == "pod_id" else None) != value:
                return f"{key} is {told.get(key)!r}, not {value!r}"
        if int(record.time_unix_nano) != when:
            return f"time is not {when}"
        seen[index] += 1
        return ""

    def done(self) -> Tally:
        for name, (_, seen) in self._logs.items():
            absent = [index for index, times in enumerate(seen) if not times]
            self.tally.missing += len(absent)
            self.tally.duplicates += sum(times - 1 for times in seen if times)
            if absent:
                self._example(f"{name}: {len(absent)} missing, {_ranges(absent)}")
        return self.tally

    def _example(self, text: str) -> None:
        if len(self.tally.examples) < _EXAMPLES:
            self.tally.examples.append(text)


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in runs[:8]) + (" …" if len(runs) > 8 else "")
