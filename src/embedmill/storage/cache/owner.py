"""Who has claimed texts in a cache: a lock file beside it, which the kernel lets go of when its process ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from embedmill.runtime import locks


class Owner:
    """An opening of the cache that lives until it is closed, or its process ends.

    To be made, and looked for by `remove_dead`, only by who has locked the cache for writing: between the making of
    the file and its lock nobody must look.
    """

    def __init__(self, cache: Path) -> None:
        """Raises `OSError` where the folder takes no file, or its file system no locks."""
        self.number = int.from_bytes(os.urandom(7), "big")  # a whole number as SQLite has them
        self._path = _path(cache, self.number)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            locks.acquire(self._file)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all that is claimed. Not in a process that was forked."""
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            locks.release(self._file)
        os.close(self._file)


def is_alive(cache: Path, number: int) -> bool:
    """Whether the owner of this number lives."""
    try:
        file = os.open(_path(cache, number), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # that of another user
        return True
    try:
        return locks.is_held(file)
    finally:
        os.close(file)


def remove_dead(cache: Path) -> None:
    """Remove the files that owners which were killed have left."""
    for path in cache.parent.glob(f"{cache.name}.owner-*"):
        with suppress(OSError, ValueError):
            if not is_alive(cache, int(path.name.rpartition("-")[2], 16)):
                path.unlink(missing_ok=True)


def _path(cache: Path, number: int) -> Path:
    return cache.with_name(f"{cache.name}.owner-{number:014x}")
