"""Questions to the cache's tables: of many rows at once, however many these are, and whether a table is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

_VARIABLES: Final = 500  # in one statement: older builds of SQLite stop at 999


def rows_of(db: sqlite3.Connection, query: str, values: Sequence[bytes | int], *before: int) -> list[Any]:
    """What a query gives that ends by ``IN ({})``, and takes the values `before` ahead of these."""
    found: list[Any] = []
    for first in range(0, len(values), _VARIABLES):
        some = values[first : first + _VARIABLES]
        found += db.execute(query.format(", ".join("?" * len(some))), (*before, *some)).fetchall()
    return found


def is_there(db: sqlite3.Connection, table: str) -> bool:
    """Whether the file has a table of this name: some are made when they are first needed."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return db.execute(query, (table,)).fetchone() is not None
