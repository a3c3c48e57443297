"""The tables of keys and of vectors in the cache's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from embedmill.storage.cache.entries import Entry, Packed
from embedmill.storage.cache.lookups import rows_of
from embedmill.storage.sqlite.connection import Connection

_GET: Final = "SELECT key, k.id, used, crc, vector FROM keys k CROSS JOIN vectors v ON v.id = k.id WHERE key IN ({})"

_KEEP: Final = "INSERT INTO keys (key, fingerprint, id, used) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"

_KEEP_ANEW: Final = "UPDATE keys SET fingerprint = ?, used = ? WHERE key = ?"

_WRITE: Final = "INSERT OR REPLACE INTO vectors (id, crc, vector) VALUES (?, ?, ?)"

_DAMAGED: Final = """DELETE FROM keys WHERE key = ? AND id = ?
                     AND EXISTS (SELECT 1 FROM vectors v WHERE v.id = keys.id AND crc IS ?)"""

_UNUSED: Final = "SELECT key, id, used FROM keys WHERE used <= ? ORDER BY used, id LIMIT ?"

Key = tuple[int, int, int]
"""A row of the table of keys: key, id, day of the last use."""


Damaged = tuple[int, int, Any]
"""Key, id and checksum of a vector that is not as it was put."""


class VectorTable:
    """Vectors by key. A key and its vector come and go together. Raises what `sqlite3` raises.

    What changes it is called in a transaction.
    """

    def __init__(self, db: Connection) -> None:
        self._db = db

    def get(self, keys: Sequence[int]) -> list[Entry]:
        """Those that are there; fastest for keys that are in order."""
        return rows_of(self._db, _GET, keys)

    def held(self, keys: Sequence[int]) -> set[int]:
        """Those of the keys that have a vector."""
        return {key for (key,) in rows_of(self._db, "SELECT key FROM keys WHERE key IN ({})", keys)}

    def put(self, number: int, day: int, new: Packed) -> None:
        """Keep these for the fingerprint of this number, in place of others of the same keys."""
        (last,) = self._db.execute("SELECT max(id) FROM vectors").fetchone()
        first = 1 if last is None else last + 1
        ids: Sequence[int] = range(first, first + len(new.keys))
        kept = self._db.executemany(_KEEP, zip(new.keys, repeat(number), ids, repeat(day)))
        if kept.rowcount < len(new.keys):  # some were there, and keep their ids
            by_key = dict(rows_of(self._db, "SELECT key, id FROM keys WHERE key IN ({})", new.keys))
            ids = [by_key[key] for key in new.keys]
            self._db.executemany(_KEEP_ANEW, zip(repeat(number), repeat(day), new.keys))
        self._db.executemany(_WRITE, zip(ids, new.sums, new.blobs, strict=True))

    def use(self, keys: Sequence[int], day: int) -> None:
        """Note that they were used on this day."""
        self._db.executemany("UPDATE keys SET used = ? WHERE key = ?", ((day, key) for key in keys))

    def remove_damaged(self, damaged: Sequence[Damaged]) -> None:
        """Remove what was found damaged, unless another has been put meanwhile."""
        for each in damaged:
            if self._db.execute(_DAMAGED, each).rowcount:
                self._db.execute("DELETE FROM vectors WHERE id = ?", each[1:2])

    def unused(self, last_day: int, most: int) -> list[Key]:
        """Those that were not used after that day; first what was not used for longest."""
        return self._db.execute(_UNUSED, (last_day, most)).fetchall()

    def remove(self, some: Sequence[Key]) -> int:
        """Remove them, but for those that were used or put anew meanwhile; returns how many went."""
        now = rows_of(self._db, "SELECT key, id, used FROM keys WHERE key IN ({})", [key for key, *_ in some])
        gone = set(some).intersection(now)
        rows_of(self._db, "DELETE FROM keys WHERE key IN ({})", [key for key, *_ in gone])
        rows_of(self._db, "DELETE FROM vectors WHERE id IN ({})", [row for _, row, _ in gone])
        return len(gone)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Vectors by fingerprint key."""
        return self._db.execute(
            """SELECT f.key, count(*) FROM keys k JOIN fingerprints f ON f.id = k.fingerprint
               GROUP BY f.key ORDER BY f.key"""
        )
