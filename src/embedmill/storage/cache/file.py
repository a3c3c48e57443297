"""The file behind the cache of vectors: SQLite, read and written by any number of processes at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from embedmill.core.errors import CacheError
from embedmill.core.interfaces.cache import Claimed
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.cache.by_hash import by_hash
from embedmill.storage.cache.claims import ClaimTable
from embedmill.storage.cache.entries import SCHEMA_VERSION, packed, unpacked, whole
from embedmill.storage.cache.names import ModelNames
from embedmill.storage.sqlite.connection import connect

BUSY_TIMEOUT: Final = 30.0  # seconds to wait for another process's transaction, which takes milliseconds

log = logging.getLogger(__name__)

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
        checksum    INTEGER NOT NULL,  -- see storage.cache.entries
        vector      BLOB    NOT NULL   -- little-endian float32
    );
    CREATE UNIQUE INDEX vectors_by_key ON vectors (fingerprint, hash);
    CREATE INDEX vectors_by_use ON vectors (used);
"""


_GET: Final = "SELECT id, hash, used, checksum, vector FROM vectors WHERE fingerprint = ? AND hash IN ({})"

_PUT: Final = """INSERT INTO vectors (fingerprint, used, hash, checksum, vector) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE
                 SET used = excluded.used, checksum = excluded.checksum, vector = excluded.vector"""

_HAS: Final = "SELECT hash FROM vectors WHERE fingerprint = ? AND hash IN ({})"

_DELETE: Final = "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors WHERE used <= ? ORDER BY used, id LIMIT ?)"


class CacheFile:
    """Vectors by fingerprint and hash. Not for several threads at once. Raises what `sqlite3` raises."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it where there is none; raises `CacheError` for one of a newer version."""
        self.path = path
        self._fingerprints: dict[str, int] = {}
        self._damaged: list[tuple[int, int]] = []  # ids and checksums of vectors that are not as they were put
        self._touched: list[int] = []  # ids of vectors that were used today and are not marked so yet
        self._db = connect(path, "mode=rwc", timeout=BUSY_TIMEOUT)
        self._claims = ClaimTable(path, self._db)
        self._names = ModelNames(self._db)
        try:
            if self._version() == 0:
                self._begin_file()
            elif self._version() < SCHEMA_VERSION:
                self._begin_anew()
            if self._version() > SCHEMA_VERSION:
                raise CacheError(f"the cache {self.path} was written by a newer embedmill: upgrade embedmill")
            self._db.execute("PRAGMA journal_size_limit = 16777216")  # bytes
            self._db.execute("PRAGMA wal_autocheckpoint = 2000")  # pages: the same size
            self._db.execute("PRAGMA cache_size = -16384")  # KiB: the pages that a transaction changes, and more
            self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last vectors
        except BaseException:
            self._db.close()
            raise

    def finish_within(self, seconds: float) -> None:
        """From now on other processes are waited for no longer than this. For signal handlers."""
        self._db.finish_within(seconds)

    def _begin_file(self) -> None:
        self._db.execute("PRAGMA page_size = 8192")  # five vectors of 384 numbers fill 94 % of it
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # lets the file become smaller
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            if self._version() == 0:  # no other process was quicker
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _begin_anew(self) -> None:
        """Empty a file of an earlier version, and make it smaller."""
        with self._transaction():
            if self._version() < SCHEMA_VERSION:  # no other process was quicker
                self._db.execute("DELETE FROM vectors")  # all at once: SQLite clears whole pages, without reading rows
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                log.warning(
                    "the cache %s was written by an earlier version, which could keep wrong vectors when memory was "
                    "short: it is emptied (`embedmill verify` checks what is in a store)",
                    self.path,
                )
        self._give_back(0)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def get(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there and whole."""
        number = self._number(fingerprint)
        if number is None:
            return {}
        found = by_hash(self._db, _GET, number, hashes)
        sound = whole(found, fingerprint)
        if len(sound) < len(found):
            ids = {row for row, *_ in sound}
            self._damaged += [(row, checksum) for row, _, _, checksum, _ in found if row not in ids]
        today = _today()
        self._touched += [row for row, _, used, _, _ in sound if used < today]
        return unpacked(sound)

    @property
    def has_pending(self) -> bool:
        """Whether there is enough for `write_pending`."""
        return bool(self._damaged) or len(self._touched) > _TOUCHED

    def put(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint, model: str = "") -> None:
        """Keep these vectors, in place of others of the same key; who has claimed them has no claim any more.

        `model` is its name, if that is known.
        """
        today = _today()
        keys = sorted(vectors)  # as they are in the index: whoever asks for these again finds them side by side
        for first in range(0, len(keys), _TRANSACTION_ROWS):
            some = keys[first : first + _TRANSACTION_ROWS]
            entries = packed(some, vectors, fingerprint)
            with self._transaction():
                number = self._own_number(fingerprint)
                if model:
                    self._names.note(number, model)
                self._db.executemany(_PUT, ((number, today, *entry) for entry in entries))
                self._claims.settle(number, some)

    def claim(self, hashes: Sequence[bytes], fingerprint: Fingerprint, overdue: Collection[int]) -> Claimed:
        """See `ClaimingCache.claim`."""
        with self._transaction():
            number = self._own_number(fingerprint)
            others = self._claims.claim(number, hashes, overdue)
            own = [key for key in hashes if key not in others]
            return Claimed(others, [key for (key,) in by_hash(self._db, _HAS, number, own)])

    def claimed(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, int]:
        """See `ClaimingCache.claimed`."""
        number = self._number(fingerprint)
        return {} if number is None else self._claims.held(number, hashes)

    def release(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """See `ClaimingCache.release`."""
        with self._transaction():
            self._claims.release(self._own_number(fingerprint), hashes)

    def want(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """See `ClaimingCache.want`."""
        with self._transaction():
            self._claims.want(self._own_number(fingerprint), hashes)

    def wanted(self) -> bool:
        """See `ClaimingCache.wanted`."""
        return self._claims.wanted()

    def give_up_claims(self) -> None:
        """Let go of all own claims at once, where the file cannot be written."""
        self._claims.close()

    def write_pending(self) -> None:
        """Remove what reads have found damaged, and note the use of the rest."""
        today = _today()
        damaged, self._damaged = self._damaged, []
        if damaged:
            with self._transaction():
                self._db.executemany("DELETE FROM vectors WHERE id = ? AND checksum = ?", damaged)
        touched, self._touched = self._touched, []
        for first in range(0, len(touched), _TRANSACTION_ROWS):
            with self._transaction():
                self._db.executemany(
                    "UPDATE vectors SET used = ? WHERE id = ?",
                    [(today, row) for row in touched[first : first + _TRANSACTION_ROWS]],
                )

    def remove_older(self, days: int) -> int:
        """Remove what was not used in these last days; returns how many vectors went."""
        return self._remove(_today() - days, 0, 0)

    def shrink(self, max_bytes: int, keep_bytes: int) -> int:
        """Remove what was not used for longest, down to `keep_bytes`; returns how many vectors went.

        The file keeps the room of what went, up to `max_bytes`: where the cache is full, it is soon used.
        """
        return self._remove(_FOR_EVER, keep_bytes, max_bytes)

    def clear(self) -> int:
        """Remove everything; returns how many vectors went."""
        removed = self._remove(_FOR_EVER, 0, 0)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log too, unless others read just now
        return removed

    def _remove(self, last_day: int, keep_bytes: int, max_bytes: int) -> int:
        removed = 0
        while self.used_bytes() > keep_bytes:
            with self._transaction():
                gone = self._db.execute(_DELETE, (last_day, _TRANSACTION_ROWS)).rowcount
            if not gone:
                break
            removed += gone
        self._give_back(max_bytes)
        if removed:
            self._db.execute("PRAGMA wal_checkpoint").fetchall()  # only this makes the file smaller
        return removed

    def _give_back(self, max_bytes: int) -> None:
        """Make the file smaller, as far as it is larger than that and has room to spare."""
        while self._pages("freelist_count") and self._pages("page_count") * self._pages("page_size") > max_bytes:
            # Some pages at a time, since each that moves is written to the log first. Python's execute would
            # stop after one page.
            self._db.executescript("PRAGMA incremental_vacuum(1000)")

    def used_bytes(self) -> int:
        """What the vectors and their indexes take, without the room that removed ones left."""
        return (self._pages("page_count") - self._pages("freelist_count")) * self._pages("page_size")

    def _pages(self, what: str) -> int:
        return int(self._db.execute(f"PRAGMA {what}").fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Vectors by fingerprint key."""
        return dict(
            self._db.execute(
                """SELECT key, count(*) FROM vectors v JOIN fingerprints f ON f.id = v.fingerprint
                   GROUP BY key ORDER BY key"""
            )
        )

    def names(self) -> dict[str, str]:
        """Names of models by fingerprint key, as far as they are known."""
        return self._names.by_key()

    def close(self) -> None:
        """Close the file as it is, without what is pending; nothing is claimed any more."""
        self._claims.close()
        self._db.close()

    def _number(self, fingerprint: Fingerprint) -> int | None:
        key = fingerprint.key
        if key not in self._fingerprints:
            row = self._db.execute("SELECT id FROM fingerprints WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._fingerprints[key] = row[0]
        return self._fingerprints[key]

    def _own_number(self, fingerprint: Fingerprint) -> int:
        """As `_number`, in a transaction: a new fingerprint gets one."""
        number = self._number(fingerprint)
        if number is None:
            self._db.execute("INSERT INTO fingerprints (key) VALUES (?)", (fingerprint.key,))
            number = self._number(fingerprint)
            assert number is not None
        return number

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._fingerprints.clear()  # the number of one that was new may not be there
            self._claims.forget()
            self._names.forget()
            raise


def _today() -> int:
    return int(time.time() // 86_400)
