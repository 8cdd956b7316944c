"""Data that a destination will never take: kept for people, in a file of bounded size."""

import os


class DeadLetterFile:
    """Lines in `<directory>/dead-letter-<name>.jsonl`. A full file is renamed to `….1`, in place of the one before."""

    def __init__(self, directory: str, name: str, max_size: int) -> None:
        """`max_size` (bytes) is for both files together."""
        self.path = os.path.join(directory, f"dead-letter-{name.replace('/', '_')}.jsonl")
        self._most = max_size // 2

    def add(self, line: bytes) -> bool:
        """Append a line; False if it alone is larger than the file may be. Raises OSError; the file is whole then."""
        data = line + b"\n"
        if len(data) > self._most:
            return False
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            if size and size + len(data) > self._most:
                os.replace(self.path, self.path + ".1")
                os.close(file)
                file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                size = 0
            try:
                _write(file, data)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        return True


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
