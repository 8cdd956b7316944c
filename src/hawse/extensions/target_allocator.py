"""target_allocator: finds scrape targets through the Kubernetes API, and tells each collector which are its own.

Keys and HTTP API are those of the OpenTelemetry operator's allocator where it has them. docs/target-allocator.md.
"""

from collections.abc import Iterator

from hawse import component
from hawse.allocator.allocator import Allocator
from hawse.allocator.api import Api
from hawse.allocator.needs import needs as allocator_needs
from hawse.allocator.settings import Settings
from hawse.component import Context, ExtensionFactory, Need, Stability
from hawse.health import Health
from hawse.net.server import HttpServers


class Config(Settings, frozen=True):
    """Finds scrape targets (monitors of prometheus-operator, annotated pods, kubelets, jobs of its own), and shares
    them out among collectors, which ask for theirs over HTTP.
    """


def needs(config: Config) -> Iterator[Need]:
    """A port, and exactly what is to be looked at."""
    yield from allocator_needs(config)


class TargetAllocator(component.Extension):
    """The allocator and its HTTP server."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._context = context
        self._servers = context.shared(HttpServers)
        self.allocator = Allocator(config, context)
        self.port = 0
        context.shared(Health).check(f"extensions.{context.id}", self.allocator.why_not_ready)

    async def start(self) -> None:
        """Begin to look, and bind the port: it answers 503 until it is known what there is."""
        await self.allocator.start()
        self.port = await self._servers.mount(
            self._config, Api(self.allocator).routes(), owner=self._context.id, path=f"extensions.{self._context.id}"
        )

    async def stop(self) -> None:
        """Close it."""
        await self._servers.unmount(self._context.id)
        await self.allocator.close()


factory = ExtensionFactory(
    "target_allocator", Config, TargetAllocator, needs=needs, stability=Stability.ALPHA, works_alone=True
)
