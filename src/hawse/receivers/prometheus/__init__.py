"""prometheus: scrapes targets as Prometheus does, by its own configuration, or as a target allocator tells it.

`config` is what the user writes; `manager` has all jobs, `pool` the targets of one, `loop` one target's moments,
`scrape` what happens in one of them, `negotiation` the formats, `delivery` what becomes of what was scraped, `memory`
how much may be held; `allocator` asks a target allocator, `status` shows targets as Prometheus' own API does.
Settings, relabelling and discovery are `hawse.prometheus`, the exposition formats `hawse.codecs.exposition`.

A target's series are kept from scrape to scrape. A scrape that failed marks all of them stale, and `up` is 0; a scrape
that could not be handed on is kept, and its target not scraped again until it was: a gap, which is counted
(`hawse_scrapes_missed`), and no loss of anything that was accepted.
"""

from collections.abc import Mapping

from hawse.batch import Signal
from hawse.component import Consumer, Context, Receiver, ReceiverFactory, Stability
from hawse.net.server import HttpServers
from hawse.receivers.prometheus.allocator import Allocator
from hawse.receivers.prometheus.config import Config, needs
from hawse.receivers.prometheus.files import jobs_of_files
from hawse.receivers.prometheus.manager import Manager
from hawse.receivers.prometheus.status import routes


class Prometheus(Receiver):
    """Runs jobs from `start` to `stop`. `port` is that of the API server, 0 if there is none."""

    def __init__(self, config: Config, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self.manager = Manager(config, context, outputs[Signal.METRICS])
        self._allocator = Allocator(config, context, self.manager) if config.target_allocator else None
        self._servers: HttpServers = context.shared(HttpServers)
        self.port = 0

    async def start(self) -> None:
        """Begin to look for targets. Raises HawseError where files of scrape configurations cannot be used."""
        settings = self._config.config
        for job in (*settings.scrape_configs, *jobs_of_files(settings)):
            self.manager.add(self.manager.filled(job))
        if self._allocator is not None:
            self.manager.elsewhere = self._allocator.elsewhere
            self._context.spawn(self._allocator.run(), "ask the target allocator")
        if self._config.api_server.enabled:
            self.port = await self._servers.mount(
                self._config.api_server.server_config,
                routes(self.manager),
                owner=self._context.id,
                path="api_server.server_config",
            )

    async def stop(self) -> None:
        """Scrape no more; wait until what was read is taken."""
        await self._servers.unmount(self._context.id)
        if self._allocator is not None:
            await self._allocator.close()
        await self.manager.stop()


factory = ReceiverFactory(
    "prometheus", Config, Prometheus, signals={Signal.METRICS}, needs=needs, stability=Stability.BETA
)
