"""file_storage: where components keep offsets and cursors across restarts."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from hawse import component
from hawse.component import Context, ExtensionFactory, Need, Problem, Stability, Writes
from hawse.health import Health
from hawse.state.storage import Storage


class Config(component.Config, frozen=True):
    """Keeps the state of components (`storage: file_storage`) in `directory`: in one SQLite file, `state.db`, and the
    payloads of sending queues in files beside it.
    """

    directory: Annotated[str, Meta(description="Folder of the state file; made if it is not there.", min_length=1)] = (
        "/var/lib/hawse"
    )
    fsync: Annotated[
        bool, Meta(description="Have the disk confirm what is kept, which then survives the death of the machine, too.")
    ] = False

    def problems(self) -> Iterator[Problem]:
        """The folder must be absolute: the working directory of a pod is nobody's choice."""
        if not self.directory.startswith("/"):
            yield Problem("directory", f"{self.directory!r} is not an absolute path", "begin it with a slash")


def needs(config: Config) -> Iterator[Need]:
    """The folder, written."""
    yield Writes(config.directory, "state of components")


class FileStorage(component.Extension, Storage):
    """The open state file."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._context = context
        self._open = False

    async def start(self) -> None:
        """Open the file; see `Storage.open_storage`."""
        self.open_storage(self._config.directory, fsync=self._config.fsync)
        self._open = True
        self._context.shared(Health).check(f"extensions.{self._context.id}", self.problem)

    async def stop(self) -> None:
        """Close it."""
        if self._open:
            self._open = False
            self.close_storage()


factory = ExtensionFactory("file_storage", Config, FileStorage, needs=needs, stability=Stability.ALPHA)
