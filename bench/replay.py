"""Sends what a sink has captured to a role, over a few kept connections, as collectors would."""

import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.sink import Body, bodies

_CONNECTIONS = 4
_TAKEN = frozenset({200, 204})
_BUSY = frozenset({429, 502, 503, 504})


def send(spool: Path, port: int, path: str = "/v1/logs") -> None:
    """Post every body once more, to http://127.0.0.1:PORT/PATH; what is answered with "busy" comes again."""
    source = bodies(spool)
    lock, problems = threading.Lock(), list[BaseException]()
    threads = [
        threading.Thread(target=_send, args=(source, lock, port, path, problems), daemon=True)
        for _ in range(_CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def _send(source: Iterator[Body], lock: threading.Lock, port: int, path: str, problems: list[BaseException]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        while not problems:
            with lock:
                body = next(source, None)
            if body is None:
                return
            while (status := _post(connection, path, body)) in _BUSY:
                time.sleep(0.05)
            if status not in _TAKEN:
                raise RuntimeError(f"the role answered {status}")
    except BaseException as problem:
        problems.append(problem)
    finally:
        connection.close()


def _post(connection: http.client.HTTPConnection, path: str, body: Body) -> int:
    headers = {"content-type": "application/x-protobuf"}
    if body.encoding:
        headers["content-encoding"] = body.encoding
    connection.request("POST", path, body.data, headers)
    response = connection.getresponse()
    response.read()
    return response.status
