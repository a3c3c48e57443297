"""SQLite files: where they are, how they are opened, and their errors in embedmill's words."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from embedmill.errors import StoreError, UsageError

APPLICATION_ID: Final = 0x656D6D6C
"""In the header of a store of embedmill's, "emml": tells it from any other SQLite file."""

MAGIC: Final = b"SQLite format 3\0"
"""What every SQLite file begins with that is not empty."""

REMEDIES: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: ": free some space and run again; what was finished is stored",
    sqlite3.SQLITE_IOERR: ": check the disk and the space left on it",
    sqlite3.SQLITE_READONLY: ": check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: ": check the permissions of the file and its folder",
    sqlite3.SQLITE_PERM: ": check the permissions of the file and its folder",
}
"""By primary result code: what to do, wherever the file lies and whatever it is for."""


def path_of(url: str) -> Path:
    """The file that a URL such as ``sqlite:PATH`` names. Raises `UsageError` where it names none."""
    path = Path(url.partition(":")[2])
    if not path.name or path.name == ":memory:":
        raise UsageError(f"{url} names no file: give sqlite:PATH")
    return path.expanduser()


def connect(path: Path, access: str, *, timeout: float) -> sqlite3.Connection:
    """Open a file; `access` is a part of SQLite's URI, such as ``mode=rw``; `timeout` is for others' locks, in seconds.

    Transactions begin where the code says BEGIN. The connection may be used by any thread, by one at a time.
    """
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{access}",  # "?", "#" and "%" mean something in a URI
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def starts_otherwise(path: Path) -> bool:
    """Whether a file is there, holds something, and is no SQLite file: SQLite itself complains of such late.

    Raises `StoreError` where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}: check the path and the permissions") from error
    return magic not in (b"", MAGIC)


def code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for errors of the module itself, such as the use of a closed connection."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def quoted(name: str) -> str:
    """A name as an identifier in SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
