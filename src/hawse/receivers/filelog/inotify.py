"""inotify(7) by ctypes: told of names that come, go and move in folders. Linux only; absent elsewhere."""

import ctypes
import errno
import os

_CREATE, _DELETE, _MOVED_FROM, _MOVED_TO, _ONLYDIR = 0x100, 0x200, 0x40, 0x80, 0x0100_0000
_MASK = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _ONLYDIR
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class Inotify:
    """A set of watched folders. Readable (select, asyncio) whenever something happened in one of them."""

    def __init__(self) -> None:
        """Raise OSError where the kernel gives none (too many instances, no inotify)."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._watched: dict[str, int] = {}

    def watch(self, folders: set[str]) -> str:
        """Watch exactly these folders. Returns why some could not be watched, or nothing.

        Watching a folder that is watched already is harmless: the kernel gives the same number again.
        """
        trouble = ""
        for folder in [known for known in self._watched if known not in folders]:
            self._libc.inotify_rm_watch(self.fd, self._watched.pop(folder))
        for folder in folders:
            number = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _MASK)
            if number >= 0:
                self._watched[folder] = number
            elif ctypes.get_errno() not in {errno.ENOENT, errno.ENOTDIR}:
                trouble = f"{folder}: {os.strerror(ctypes.get_errno())}"
        return trouble

    def drain(self) -> bool:
        """Forget what was told so far; whether there was anything."""
        told = False
        while True:
            try:
                told = bool(os.read(self.fd, 65536)) or told
            except BlockingIOError:
                return told

    def close(self) -> None:
        """Close the descriptor, and all watches with it."""
        os.close(self.fd)
