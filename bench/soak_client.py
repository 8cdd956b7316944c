"""An OTLP client that sends as fast as it is let: `python -m bench.soak_client PORT SECONDS SEED RECORDS NUMBER`.

Numbered records in requests of so many; what is not taken is sent again, after a pause shorter than asked for.
"""

import http.client
import json
import random
import struct
import sys
import time
from collections import Counter
from typing import NamedTuple

from hawse.net.compression import compress
from hawse.wire import encode_attributes, encode_value, field

PADDING = "".join(random.Random(7).choices("abcdefghij 0123456789=-/", k=1000))
_PAUSE = 0.05
_HEADERS = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}


class Report(NamedTuple):
    """Records that were taken, all those below it; how often each status was answered, "0" for no answer."""

    accepted: int
    answers: dict[str, int]


def request(rng: random.Random, client: int, first: int, count: int) -> bytes:
    """Records `first` to `first + count`."""
    records = []
    for number in range(first, first + count):
        start = rng.randrange(400)
        text = f"client-{client}-{number} {PADDING[start : start + rng.randrange(600)]}"
        stamp = b"\x09" + struct.pack("<Q", 1_790_000_000_000_000_000 + number)
        records.append(field(2, stamp + field(5, encode_value(text))))
    resource = field(1, encode_attributes({"service.name": f"soak-{client}"}))
    return field(1, resource + field(2, b"".join(records)))


def main(port: int, seconds: float, seed: int, records: int, client: int) -> Report:
    """Send until the time is up."""
    rng = random.Random(f"{seed}/{client}")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    answers: Counter[str] = Counter()
    accepted, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        body = compress([request(rng, client, accepted, records)], "gzip", 1)
        status = 0
        while status != 200 and time.monotonic() < end:
            try:
                connection.request("POST", "/v1/logs", body, _HEADERS)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (http.client.HTTPException, OSError):
                connection.close()
                status = 0
            answers[str(status)] += 1
            if status not in {0, 200, 429, 503}:
                raise SystemExit(f"answered {status}")
            if status != 200:
                time.sleep(_PAUSE)
        accepted += records if status == 200 else 0
    connection.close()
    return Report(accepted, answers)


if __name__ == "__main__":
    _port, _seconds, *_rest = sys.argv[1:]
    print(json.dumps(main(int(_port), float(_seconds), *map(int, _rest))._asdict()))
