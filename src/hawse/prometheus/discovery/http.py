"""`http_sd_configs`: targets that an HTTP server lists, asked every `refresh_interval`.

prometheus.io/docs/prometheus/latest/http_sd. What fails leaves the targets as they were.
"""

import asyncio
import re
from collections.abc import Iterator

from hawse.component import Need
from hawse.prometheus.discovery import formats
from hawse.prometheus.discovery.base import Publish
from hawse.prometheus.discovery.formats import FormatError
from hawse.prometheus.discovery.polling import Polled
from hawse.prometheus.http import FetchError, ScrapeClient
from hawse.prometheus.http_settings import client_needs, connects
from hawse.prometheus.sd_settings import HttpSDConfig

LARGEST = 64 << 20  # bytes of an answer
_JSON = re.compile(r'application/json(;\s*charset=("utf-8"|utf-8))?', re.IGNORECASE)


class HttpDiscoverer(Polled):
    """One URL."""

    def __init__(self, config: HttpSDConfig, name: str) -> None:
        super().__init__(name)
        self._config = config

    async def run(self, publish: Publish) -> None:
        """See Discoverer."""
        client = ScrapeClient(self._config)
        try:
            while True:
                began = asyncio.get_running_loop().time()
                await self._ask(client, publish)
                took = asyncio.get_running_loop().time() - began
                await asyncio.sleep(max(0.0, self._config.refresh_interval - took))
        finally:
            await client.close()

    async def _ask(self, client: ScrapeClient, publish: Publish) -> None:
        interval = float(self._config.refresh_interval)
        headers = {"accept": "application/json", "x-prometheus-refresh-interval-seconds": f"{interval:g}"}
        url = self._config.url
        try:
            answer = await client.get(url, headers, timeout=interval, limit=LARGEST)
            kind = answer.headers.get("content-type", "").strip()
            if not _JSON.fullmatch(kind):
                raise FormatError(f'unsupported content type "{kind}"; it must be application/json')
            groups = await asyncio.to_thread(formats.from_json, answer.body, url, {"__meta_url": url})
        except FetchError as error:
            self.failed(error.message)
        except FormatError as error:
            self.failed(f"{url}: {error}")
        else:
            self.well()
            self.found(groups, publish)


def needs(config: HttpSDConfig) -> Iterator[Need]:
    """The server, and the files of its credentials."""
    yield connects(config.url, "targets (http_sd_configs)")
    yield from client_needs(config, "credentials of http_sd_configs")
