"""SQLite files: where they are, and what tells them from others; names in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from embedmill.core.errors import StoreError, UsageError

APPLICATION_ID: Final = 0x656D6D6C
"""In the header of a store of embedmill's, "emml": tells it from any other SQLite file."""

MAGIC: Final = b"SQLite format 3\0"
"""What every SQLite file begins with that is not empty."""


def path_of(url: str) -> Path:
    """The file that a URL such as ``sqlite:PATH`` names. Raises `UsageError` where it names none."""
    path = Path(url.partition(":")[2])
    if not path.name or path.name == ":memory:":
        raise UsageError(f"{url} names no file: give sqlite:PATH")
    return path.expanduser()


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


def quoted(name: str) -> str:
    """A name as an identifier in SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
