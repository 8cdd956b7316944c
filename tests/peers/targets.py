"""Targets whose every answer a test decides, and which know who has seen it."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .programs import get, port, until

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# What Prometheus 2.42 asks with (scrape.go).
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Target:
    """An HTTP server that shows one body until told to show another. Scrapers are told apart by their User-Agent."""

    def __init__(self):
        self.port = port()
        self.address = f"127.0.0.1:{self.port}"
        self.asked = {}  # scraper → headers of its last request
        self._body = b""
        self._type = TEXT
        self._status = 200
        self._seen = {}  # scraper → how often it has been shown what is shown now
        self._lock = threading.Lock()
        self._server = None

    def show(self, body, content_type=TEXT, status=200):
        """From now on, this."""
        data = body if isinstance(body, bytes) else body.encode()
        with self._lock:
            self._body, self._type, self._status = data, content_type, status
            self._seen = {}

    def seen(self, scrapers=2, times=1, seconds=15.0):
        """Wait until so many scrapers have been shown it so often."""

        def enough():
            with self._lock:
                return sum(count >= times for count in self._seen.values()) >= scrapers

        until(enough, lambda: f"{scrapers} scrapers at {self.address}, but {self._seen}", seconds)

    def up(self):
        """Listen (again)."""
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                target._answer(self)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def down(self):
        """Connections are refused from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, handler):
        scraper = handler.headers.get("user-agent", "").partition("/")[0]
        with self._lock:
            body, content_type, status = self._body, self._type, self._status
            self._seen[scraper] = self._seen.get(scraper, 0) + 1
            self.asked[scraper] = dict(handler.headers.items())
        if "gzip" in handler.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
        handler.send_response(status)
        handler.send_header("content-type", content_type)
        if "gzip" in handler.headers.get("accept-encoding", ""):
            handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self):
        return self.up()

    def __exit__(self, *exc):
        self.down()


class Frozen(Target):
    """Shows what a real exporter said at one moment, word for word, so that two scrapers see the same."""

    def __init__(self, url):
        super().__init__()
        self._url = url

    def take(self):
        """Ask the exporter, and show its answer from now on."""
        status, headers, body = get(self._url, {"accept": ACCEPT, "user-agent": "Prometheus/2.42.0"})
        assert status == 200, (self._url, status, body)
        self.show(body, headers["content-type"])
        return body
