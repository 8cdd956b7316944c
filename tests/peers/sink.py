"""Where remote write ends: an endpoint that keeps every sample it was sent, and that can be told to refuse."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cramjam

from .programs import port
from .prometheus import plain
from .prompb import message


class Sink:
    """`samples` counts (labels, milliseconds, value), labels as sorted pairs; `answer` is what the next requests get."""

    def __init__(self):
        self.port = port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1/write"
        self.samples = Counter()
        self.refused = 0
        self.answer = 200
        self.retry_after = None
        self.lock = threading.Lock()

    def have(self):
        """A copy of what there is."""
        with self.lock:
            return Counter(self.samples)

    def __enter__(self):
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                sink._take(self)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):  # a client that was killed
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()

    def _take(self, handler):
        body = handler.rfile.read(int(handler.headers["content-length"]))
        status = self.answer
        if status == 200:
            self._keep(bytes(cramjam.snappy.decompress_raw(body)))
        else:
            self.refused += 1
        handler.send_response(204 if status == 200 else status)
        if self.retry_after and status != 200:
            handler.send_header("retry-after", self.retry_after)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def _keep(self, data):
        found = []
        for series in message("WriteRequest").FromString(data).timeseries:
            labels = tuple((label.name, label.value) for label in series.labels)
            found += [(labels, sample.timestamp, plain(sample.value)) for sample in series.samples]
        with self.lock:
            self.samples.update(found)
