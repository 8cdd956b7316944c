"""What stands behind a role in tests, and how one posts to it."""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend:
    """Keeps what is posted."""

    def __init__(self):
        self.bodies = []
        taken = self.bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                chunked = self.headers.get("transfer-encoding")
                data = self.chunks() if chunked else self.rfile.read(int(self.headers["content-length"]))
                taken.append((self.path, self.headers.get("content-encoding", ""), data))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def chunks(self):
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"


def post(port, path, data, **headers):
    """The answer's status."""
    kind = {"content-type": "application/x-protobuf", **headers}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, kind), timeout=10
    ) as answer:
        return answer.status
