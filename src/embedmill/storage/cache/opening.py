"""Opening the cache's file: its tables, and what becomes of a file that another version has written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from embedmill.core.errors import CacheError
from embedmill.storage.cache.entries import SCHEMA_VERSION
from embedmill.storage.cache.room import give_back
from embedmill.storage.sqlite.connection import Connection, connect

BUSY_TIMEOUT: Final = 30.0  # seconds to wait for another process's transaction, which takes milliseconds

log = logging.getLogger(__name__)

_FINGERPRINTS: Final = "CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)"

_TABLES: Final = (
    # Small rows in a small table: new keys lie anywhere in it, and so it is this that decides how many pages a
    # transaction changes. What is used, and what goes, is told from it without a look at the large rows.
    """CREATE TABLE keys (
        key         INTEGER PRIMARY KEY,  -- of a text and a fingerprint: see storage.cache.keys
        fingerprint INTEGER NOT NULL,
        id          INTEGER NOT NULL,     -- of its vector
        used        INTEGER NOT NULL      -- days since the epoch: a read writes at most once a day
    )""",
    # Vectors are appended. No column but the id has the name that one of versions 1 and 2 has, but for `vector`:
    # each statement of a process of these, which may have the file open still, fails and changes nothing.
    """CREATE TABLE vectors (
        id     INTEGER PRIMARY KEY,
        crc    INTEGER NOT NULL,  -- checksum: see storage.cache.entries
        vector BLOB    NOT NULL   -- little-endian float32
    )""",
)

_WRONG_BEFORE: Final = 2  # the first version that kept no vectors of other texts


def open_file(path: Path) -> Connection:
    """Open the file, creating it where there is none; raises `CacheError` for one of a newer version."""
    db = connect(path, "mode=rwc", timeout=BUSY_TIMEOUT)
    try:
        if _version(db) == 0:
            _begin(db)
        elif _version(db) < SCHEMA_VERSION:
            _begin_anew(db, path)
        if _version(db) > SCHEMA_VERSION:
            raise CacheError(f"the cache {path} was written by a newer embedmill: upgrade embedmill")
        db.execute("PRAGMA journal_size_limit = 16777216")  # bytes
        db.execute("PRAGMA wal_autocheckpoint = 2000")  # pages: the same size
        db.execute("PRAGMA cache_size = -16384")  # KiB: the pages that a transaction changes, and more
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last vectors
    except BaseException:
        db.close()
        raise
    return db


def _begin(db: Connection) -> None:
    db.execute("PRAGMA page_size = 8192")  # five vectors of 384 numbers fill 94 % of it
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # lets the file become smaller
    db.execute("PRAGMA journal_mode = WAL")
    with db.transaction():
        if _version(db) == 0:  # no other process was quicker
            db.execute(_FINGERPRINTS)
            _make_tables(db)


def _begin_anew(db: Connection, path: Path) -> None:
    """Empty a file of an earlier version, and make it smaller."""
    with db.transaction():
        before = _version(db)
        if before < SCHEMA_VERSION:  # no other process was quicker
            db.execute("DROP TABLE IF EXISTS vectors")  # indexes too; SQLite frees whole pages, without reading rows
            _make_tables(db)
            log.warning("the cache %s %s", path, _why(before))
    give_back(db, 0)


def _why(version: int) -> str:
    if version < _WRONG_BEFORE:
        return (
            "was written by an earlier version, which could keep wrong vectors when memory was short: it is emptied "
            "(`embedmill verify` checks what is in a store)"
        )
    return "was written by an earlier version: vectors are kept in another way now, so it is emptied and begins anew"


def _make_tables(db: Connection) -> None:
    for statement in _TABLES:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(db: Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
