"""Which runs over an SQLite file live: each has a small file beside it, locked until its process ends.

Files are made, looked for and removed while the database is locked for writing, so that nobody sees one that is not
locked yet. Their numbers are not used twice.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from embedmill.core.errors import StoreError
from embedmill.runtime.locks import acquire


class RunFile:
    """A run that lives, from construction to `end` or the end of its process."""

    def __init__(self, database: Path, table: int, number: int) -> None:
        """Begin; `FileExistsError` where there was a run of this number. Raises `StoreError` where none can be."""
        self._path = _path(database, table, number)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            self._descriptor: int | None = os.open(self._path, flags, 0o666)
        except FileExistsError:
            raise
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}: check the permissions and the space left"
            ) from error
        try:
            acquire(self._descriptor)
        except OSError as error:
            self.end()
            raise StoreError(
                f"cannot lock {self._path}: {error.strerror}: put the database on a disk that knows locks"
            ) from error

    def end(self) -> None:
        """Let go, and leave nothing beside the database; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
            with contextlib.suppress(OSError):  # whoever comes next removes it
                self._path.unlink()


def lives(database: Path, table: int, number: int) -> bool:
    """Whether a run lives that has held rows."""
    return not _remove_if_dead(_path(database, table, number))


def any_lives(database: Path, table: int) -> bool:
    """Whether any run over the table lives."""
    return not all(map(_remove_if_dead, _files(database, f"{table}-")))


def remove_dead(database: Path) -> None:
    """Remove what runs that were killed have left beside the database."""
    for path in _files(database, ""):
        _remove_if_dead(path)


def _files(database: Path, begin: str) -> list[Path]:
    """The files of runs over the database whose names go on so."""
    database = database.resolve()
    with os.scandir(database.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(_prefix(database) + begin)]
    return [database.with_name(name) for name in names]


def _remove_if_dead(path: Path) -> bool:
    """True where the run's file was gone, or is now."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:  # another user's, whom its mode keeps from us
        return False
    try:
        acquire(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError):
        path.unlink()
    return True


def _prefix(database: Path) -> str:
    return f"{database.name}-embedmill-"


def _path(database: Path, table: int, number: int) -> Path:
    database = database.resolve()  # one file for all names of the database
    return database.with_name(f"{_prefix(database)}{table}-{number}")
