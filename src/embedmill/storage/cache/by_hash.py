"""Rows of the cache's tables by the hashes of texts, however many these are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

_VARIABLES: Final = 500  # in one statement: older builds of SQLite stop at 999


def by_hash(db: sqlite3.Connection, query: str, fingerprint: int, hashes: Sequence[bytes]) -> list[Any]:
    """What a query gives that ends by ``WHERE fingerprint = ? AND hash IN ({})``."""
    found: list[Any] = []
    for first in range(0, len(hashes), _VARIABLES):
        some = hashes[first : first + _VARIABLES]
        found += db.execute(query.format(", ".join("?" * len(some))), (fingerprint, *some)).fetchall()
    return found
