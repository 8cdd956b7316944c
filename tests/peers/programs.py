"""Processes that tests run: real programs of others, and `hawse run`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from hawse.demo.supervise import free_port

_taken: set[int] = set()


def port() -> int:
    """A free port below the range that clients' ports come from: who restarts must get its own again."""
    return free_port(random.randrange(15_000, 30_000), _taken)


def until(condition, what, seconds=20.0):
    """Wait until `condition()` is true; returns its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what() if callable(what) else what}: not within {seconds:g} s"
        time.sleep(0.03)
    return value


def get(url, headers=None, timeout=10):
    """Status, headers, body; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    except OSError as error:
        return 0, {}, str(error).encode()


class Program:
    """One process, `with Program(...)`; its output goes to a file. `url` answers 200 once it is ready."""

    def __init__(self, name, argv, folder, ready, env=None):
        self.name = name
        self.argv = [str(part) for part in argv]
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        self.env = {**os.environ, **(env or {})}
        self._ready = ready
        self._process = None

    def start(self, *, wait=True):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.folder
            )
        if wait:
            self.wait()
        return self

    def wait(self):
        """Until it answers."""

        def answers():
            assert self._process.poll() is None, f"{self.name} ended with {self._process.returncode}:\n{self.tail()}"
            return get(self._ready)[0] == 200

        until(answers, lambda: f"{self.name} answers at {self._ready}\n{self.tail()}")

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds=30):
        """SIGTERM, and wait for its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    @property
    def pid(self):
        return self._process.pid

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def said(self):
        return self.log.read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Hawse(Program):
    """`hawse run` with a configuration given as a dict. Self-metrics are served on a port of its own."""

    def __init__(self, folder, config, name="hawse", env=None):
        self.telemetry = port()
        telemetry = {"metrics": {"address": f"127.0.0.1:{self.telemetry}"}}
        config = {**config, "service": {**config["service"], "telemetry": telemetry}}
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        argv = [sys.executable, "-m", "hawse", "run", "--config", file, "--no-watch"]
        super().__init__(name, argv, folder, f"http://127.0.0.1:{self.telemetry}/metrics", env)

    def metrics(self):
        return get(self._ready)[2].decode()
