"""The same targets twice: scraped by a Prometheus, and by Hawse, which hands on to another by remote write."""

import contextlib

from .compare import differences
from .programs import Hawse, until
from .prometheus import Prometheus

INTERVAL = "500ms"


class Pair:
    """`direct` and `through` are Prometheus servers, `hawse` is the process between the targets and the latter."""

    def __init__(self, binary, folder, scrape_configs, *, only_hawse=None, exporter=None, flags=()):
        """`only_hawse` is for the `global` part of Hawse's configuration alone."""
        scraping = {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL},
            "scrape_configs": scrape_configs,
        }
        own = {**scraping, "global": {**scraping["global"], **(only_hawse or {})}}
        self.direct = Prometheus(binary, folder / "direct", scraping, flags=flags)
        self.through = Prometheus(binary, folder / "through", flags=["--web.enable-remote-write-receiver", *flags])
        write = {
            "endpoint": f"{self.through.url}/api/v1/write",
            "target_info": {"enabled": False},  # Prometheus makes no such series
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "1s"},
            **(exporter or {}),
        }
        config = {
            "receivers": {"prometheus": {"config": own}},
            "exporters": {"prometheusremotewrite": write},
            "service": {
                "pipelines": {"metrics": {"receivers": ["prometheus"], "exporters": ["prometheusremotewrite"]}}
            },
        }
        self.hawse = Hawse(folder / "hawse", config)

    @contextlib.contextmanager
    def running(self):
        with self.direct, self.through, self.hawse:
            yield self

    def stored(self, promql, value, seconds=20.0):
        """Wait until both servers answer a query with this value."""
        for server in (self.direct, self.through):
            until(
                lambda server=server: server.value(promql) == value,
                lambda server=server: (
                    f"{promql} = {value} in {server.folder.name}, not {server.query(promql)}\n{self.hawse.tail()}"
                ),
                seconds,
            )

    def samples(self):
        return self.direct.samples(), self.through.samples()

    def same(self, compare=differences, seconds=6.0):
        """Wait until both have stored the same: something may still be under way."""
        found = []

        def equal():
            found[:] = compare(*self.samples())
            return not found

        until(equal, lambda: "the same in both:\n" + "\n".join(found) + "\n" + self.hawse.tail(), seconds)
