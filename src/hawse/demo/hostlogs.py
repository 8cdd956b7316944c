"""The machine's own container logs: where they are, and from where on they are worth reading."""

import os
from glob import glob
from pathlib import Path

_LAYOUTS = {"containers": "*.log", "pods": "*/*/*.log"}
_WHOLE = 64 << 20  # bytes that are read from the beginning


class HostLogs:
    """What is there now. `pattern` is "" where there are no logs that may be read; `size` is in bytes."""

    def __init__(self, root: Path = Path("/var/log")) -> None:
        self.pattern = ""
        for folder, pattern in _LAYOUTS.items():
            if not self.pattern and any(os.access(path, os.R_OK) for path in glob(f"{root}/{folder}/{pattern}")):
                self.pattern = f"{root}/{folder}/{pattern}"
        found = [path for path in glob(self.pattern) if os.access(path, os.R_OK)]
        self.size = sum(Path(path).stat().st_size for path in found)

    @property
    def start_at(self) -> str:
        """For filelog. A node's gigabytes would bury what is to be shown; what comes later is read whole anyway."""
        return "beginning" if self.size <= _WHOLE else "end"

    def __str__(self) -> str:
        begin = "" if self.start_at == "beginning" else f" (from now on: {self.size / 1e9:.1f} GB are there already)"
        return self.pattern + begin
