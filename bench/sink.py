"""An OTLP/HTTP sink that is never the bottleneck: takes the body, answers 200, and looks inside only when asked.

Run as a process: `python -m bench.sink SPOOL` prints its port. Bodies are appended to the file SPOOL as they came
(compressed), each behind a header line; `bodies()` reads them back, which is also how a captured run is replayed.
"""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.net.compression import decompress


class Body(NamedTuple):
    """One request as it came over the wire."""

    encoding: str  # content encoding: gzip, zstd or ""
    data: bytes

    def decoded(self) -> bytes:
        """The message."""
        return decompress(self.data, self.encoding, limit=1 << 30)


def bodies(spool: Path) -> Iterator[Body]:
    """All requests in the order in which they were taken."""
    with spool.open("rb") as file:
        while header := file.readline():
            size, _, encoding = header.decode().rstrip("\n").partition(" ")
            yield Body(encoding, file.read(int(size)))


def count(spool: Path) -> tuple[int, int]:
    """Log records and bytes on the wire (bodies only), exact."""
    records = size = 0
    for body in bodies(spool):
        records += otlp.decode(Signal.LOGS, body.decoded()).items
        size += len(body.data)
    return records, size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    spool: BinaryIO
    lock = threading.Lock()

    def do_POST(self) -> None:
        data = self._chunked() if self.headers.get("transfer-encoding") else self._sized()
        header = f"{len(data)} {self.headers.get('content-encoding', '')}\n".encode()
        with self.lock:
            self.spool.write(header)
            self.spool.write(data)
            self.spool.flush()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def _sized(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _chunked(self) -> bytes:
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a line a request would cost more than the request."""


def main(spool: str) -> None:
    with Path(spool).open("ab") as file:
        _Handler.spool = file
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
