"""A real Prometheus server, and everything that it has stored."""

import json
import math
import struct
import time
import urllib.parse
import urllib.request

import cramjam

from .programs import Program, get, port
from .prompb import message

STALE = "stale"
_STALE_BITS = 0x7FF0000000000002  # model/value/value.go


class Prometheus(Program):
    """`config` is its configuration as a dict; its data is in `folder`."""

    def __init__(self, binary, folder, config=None, *, name="prometheus", flags=()):
        self.port = port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{name}.yaml"
        self.config.write_text(json.dumps(config or {}))
        argv = [
            binary,
            f"--config.file={self.config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            *flags,
        ]
        super().__init__(name, argv, folder, f"{self.url}/-/ready")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def query(self, promql):
        """The instant vector: label sets (dicts) and values."""
        status, _, body = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        assert status == 200, body
        return [(row["metric"], float(row["value"][1])) for row in json.loads(body)["data"]["result"]]

    def value(self, promql):
        """Of the one series that answers, or None."""
        found = self.query(promql)
        return found[0][1] if len(found) == 1 else None

    def metadata(self):
        """Metric → (type, help, unit), of the targets that it scrapes."""
        status, _, body = get(f"{self.url}/api/v1/metadata")
        assert status == 200, body
        data = json.loads(body)["data"]
        return {name: {(entry["type"], entry["help"], entry["unit"]) for entry in rows} for name, rows in data.items()}

    def exemplars(self, selector):
        """What the exemplar storage has, as JSON."""
        now = time.time()
        query = urllib.parse.urlencode({"query": selector, "start": 0, "end": now + 3600})
        status, _, body = get(f"{self.url}/api/v1/query_exemplars?{query}")
        assert status == 200, body
        return json.loads(body)["data"]

    def histograms(self, selector):
        """Label set → [(seconds, text)] of native histograms in the last minutes, by query: not stale markers.

        Remote read of Prometheus 2.42 leaves them out.
        """
        status, _, body = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': f'{selector}[5m]'})}")
        assert status == 200, body
        return {
            tuple(sorted(row["metric"].items())): [(at, json.dumps(found)) for at, found in row.get("histograms", ())]
            for row in json.loads(body)["data"]["result"]
        }

    def samples(self, began=None, ended=None, name=".+"):
        """Label set (sorted pairs) → [(milliseconds, value)], as stored: by remote read, which hides no stale marker.

        Values are floats, `STALE`, or what a native histogram holds.
        """
        request = message("ReadRequest")()
        request.queries.add(
            start_timestamp_ms=int((began or 0) * 1000), end_timestamp_ms=int((ended or time.time() + 3600) * 1000)
        ).matchers.add(type=2, name="__name__", value=name)
        asked = urllib.request.Request(
            f"{self.url}/api/v1/read",
            bytes(cramjam.snappy.compress_raw(request.SerializeToString())),
            {"content-type": "application/x-protobuf", "content-encoding": "snappy"},
        )
        with urllib.request.urlopen(asked, timeout=30) as response:
            answer = message("ReadResponse").FromString(bytes(cramjam.snappy.decompress_raw(response.read())))
        return {
            tuple((label.name, label.value) for label in series.labels): [
                *((sample.timestamp, plain(sample.value)) for sample in series.samples),
                *((histogram.timestamp, native(histogram)) for histogram in series.histograms),
            ]
            for result in answer.results
            for series in result.timeseries
        }


def native(histogram):
    """What a native histogram of integers holds, however its buckets are laid out in spans. It compares."""
    if plain(histogram.sum) == STALE:
        return STALE
    sides = [
        tuple(_buckets(getattr(histogram, f"{side}_spans"), getattr(histogram, f"{side}_deltas")))
        for side in ("positive", "negative")
    ]
    zero = histogram.zero_threshold, histogram.zero_count_int
    return (histogram.schema, histogram.count_int, histogram.sum, *zero, *sides)


def _buckets(spans, deltas):
    """(index, count) of all buckets that are not empty."""
    index = count = 0
    steps = iter(deltas)
    for span in spans:
        index += span.offset
        for _ in range(span.length):
            count += next(steps)
            if count:
                yield index, count
            index += 1


def plain(value):
    """A value that compares: `STALE` for the stale marker, "NaN" for all other NaN."""
    if math.isnan(value):
        return STALE if struct.unpack("<Q", struct.pack("<d", value))[0] == _STALE_BITS else "NaN"
    return value
