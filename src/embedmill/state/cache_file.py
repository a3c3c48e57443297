"""The file behind the cache of vectors: SQLite, read and written by any number of processes at once."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from embedmill.errors import CacheError
from embedmill.fingerprint import Fingerprint
from embedmill.records import Vector

BUSY_TIMEOUT: Final = 30.0  # seconds to wait for another process's transaction, which takes milliseconds

SCHEMA_VERSION: Final = 1

_VARIABLES: Final = 500  # in one statement: older builds of SQLite stop at 999
_TRANSACTION_ROWS: Final = 1000  # few, so that other processes need not wait for long
_TOUCHED: Final = 5000  # times of use that may wait in memory

_FOR_EVER: Final = 1 << 62  # a day that no vector was used after

_SCHEMA: Final = """
    CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
    CREATE TABLE vectors (
        id          INTEGER PRIMARY KEY,
        fingerprint INTEGER NOT NULL,
        hash        BLOB    NOT NULL,  -- SHA-256 of the text
        used        INTEGER NOT NULL,  -- days since the epoch: a read writes at most once a day
        checksum    INTEGER NOT NULL,  -- see _checksum
        vector      BLOB    NOT NULL   -- little-endian float32
    );
    CREATE UNIQUE INDEX vectors_by_key ON vectors (fingerprint, hash);
    CREATE INDEX vectors_by_use ON vectors (used);
"""


class CacheFile:
    """Vectors by fingerprint and hash. Not for several threads at once. Raises what `sqlite3` raises."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it where there is none; raises `CacheError` for one of a newer version."""
        self.path = path
        self._fingerprints: dict[str, int] = {}
        self._touched: list[int] = []  # ids of vectors that were used today and are not marked so yet
        self._db = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._begin_file()
        except BaseException:
            self._db.close()
            raise
        self.inode = path.stat().st_ino

    def _begin_file(self) -> None:
        self._db.execute("PRAGMA page_size = 8192")  # five vectors of 384 numbers fill 94 % of it
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # what is removed makes the file smaller
        _patiently(self._db, "PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA journal_size_limit = 16777216")  # bytes
        self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last vectors
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise CacheError(f"the cache {self.path} was written by a newer embedmill: upgrade embedmill")
            if not version:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def get(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there and whole; those that are not are removed."""
        number = self._number(fingerprint)
        if number is None:
            return {}
        found: dict[bytes, Vector] = {}
        damaged = []
        today = _today()
        size = 4 * fingerprint.space.dimension
        for first in range(0, len(hashes), _VARIABLES):
            some = hashes[first : first + _VARIABLES]
            marks = ", ".join("?" * len(some))
            rows = self._db.execute(
                "SELECT id, hash, used, checksum, vector FROM vectors "
                f"WHERE fingerprint = ? AND hash IN ({marks})",
                (number, *some),
            )
            for row, key, used, checksum, vector in rows:
                if len(vector) != size or checksum != _checksum(fingerprint, key, vector):
                    damaged.append((row, checksum))
                    continue
                found[key] = np.frombuffer(vector, "<f4").astype(np.float32, copy=False)
                if used < today:
                    self._touched.append(row)
        if damaged:
            with self._transaction():
                self._db.executemany("DELETE FROM vectors WHERE id = ? AND checksum = ?", damaged)
        if len(self._touched) > _TOUCHED:
            self.mark_used()
        return found

    def put(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint) -> None:
        """Keep these vectors, in place of others of the same key."""
        today = _today()
        items = list(vectors.items())
        for first in range(0, len(items), _TRANSACTION_ROWS):
            with self._transaction():
                number = self._number(fingerprint, create=True)
                self._db.executemany(
                    """INSERT INTO vectors (fingerprint, hash, used, checksum, vector) VALUES (?, ?, ?, ?, ?)
                       ON CONFLICT DO UPDATE
                       SET used = excluded.used, checksum = excluded.checksum, vector = excluded.vector""",
                    (
                        (number, key, today, _checksum(fingerprint, key, blob), blob)
                        for key, vector in items[first : first + _TRANSACTION_ROWS]
                        for blob in (vector.astype("<f4", copy=False).tobytes(),)
                    ),
                )

    def mark_used(self) -> None:
        """Note the use of what was read since this was last called."""
        today = _today()
        touched, self._touched = self._touched, []
        for first in range(0, len(touched), _TRANSACTION_ROWS):
            with self._transaction():
                self._db.executemany(
                    "UPDATE vectors SET used = ? WHERE id = ?",
                    [(today, row) for row in touched[first : first + _TRANSACTION_ROWS]],
                )

    def remove_older(self, days: int) -> int:
        """Remove what was not used in these last days; returns how many vectors went."""
        return self._remove("SELECT id FROM vectors WHERE used <= ? LIMIT ?", _today() - days, None)

    def shrink(self, max_bytes: int) -> int:
        """Remove what was not used for longest until the rest takes no more; returns how many vectors went."""
        return self._remove(
            "SELECT id FROM vectors WHERE used <= ? ORDER BY used, id LIMIT ?", _FOR_EVER, max_bytes
        )

    def clear(self) -> int:
        """Remove everything; returns how many vectors went."""
        return self._remove("SELECT id FROM vectors WHERE used <= ? LIMIT ?", _FOR_EVER, None)

    def _remove(self, which: str, day: int, max_bytes: int | None) -> int:
        removed = 0
        while max_bytes is None or self.used_bytes() > max_bytes:
            with self._transaction():
                statement = f"DELETE FROM vectors WHERE id IN ({which})"
                gone = self._db.execute(statement, (day, _TRANSACTION_ROWS)).rowcount
            if not gone:
                break
            removed += gone
        if removed:
            self._db.execute("PRAGMA incremental_vacuum").fetchall()  # each row fetched frees a page
            self._db.execute("PRAGMA wal_checkpoint").fetchall()  # cuts the file
        return removed

    def used_bytes(self) -> int:
        """What the vectors and their indexes take, without the room that removed ones left."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def counts(self) -> dict[str, int]:
        """Vectors by fingerprint key."""
        return dict(
            self._db.execute(
                """SELECT key, count(*) FROM vectors v JOIN fingerprints f ON f.id = v.fingerprint
                   GROUP BY key ORDER BY key"""
            )
        )

    def close(self) -> None:
        """Close the file; what is to be marked as used must have been."""
        self._db.close()

    def _number(self, fingerprint: Fingerprint, *, create: bool = False) -> int | None:
        key = fingerprint.key
        if key not in self._fingerprints:
            if create:
                self._db.execute("INSERT OR IGNORE INTO fingerprints (key) VALUES (?)", (key,))
            row = self._db.execute("SELECT id FROM fingerprints WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._fingerprints[key] = row[0]
        return self._fingerprints[key]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: a transaction that began by reading could not become a writing one
        # where another process has written meanwhile.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._fingerprints.clear()  # the number of one that was new may not be there
            raise


def _checksum(fingerprint: Fingerprint, key: bytes, vector: bytes) -> int:
    """CRC-32 of key and vector: finds a vector that is damaged, and one that stands under another's key."""
    return zlib.crc32(vector, zlib.crc32(key, zlib.crc32(fingerprint.key.encode())))


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """Execute what SQLite refuses at once, without its timeout, while another process does the same."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            db.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _today() -> int:
    return int(time.time() // 86_400)
