"""An SQLite file that is a store: opening it, bringing its schema up to date, telling its errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedmill.core.errors import StoreError, StoreNotFound
from embedmill.storage.sqlite import connection as connecting
from embedmill.storage.sqlite.connection import REMEDIES, Connection, code, connect
from embedmill.storage.sqlite.files import APPLICATION_ID, starts_otherwise
from embedmill.storage.sqlite.store.damage import RAISED, damage

MIGRATIONS = Path(__file__).parent / "migrations"

BUSY_TIMEOUT = 30.0  # seconds; only checkpoints and other readers ever hold the file, for moments

CACHE_KIB = 16_384  # of memory for each connection; the default of 2 MB holds few of the pages of the indexes

PAGE_SIZE = 16_384
"""Bytes. A vector of 384 numbers takes 1.5 KB, of 768 3 KB: a small page is left with room for half a one.
Measured with 40,000 rows in pages of 4,096 / 8,192 / 16,384 bytes:

384 numbers: 38,000 / 53,000 / 67,000 rows/s written, 117 / 101 / 99 MB;
768 numbers: 25,000 / 29,000 / 47,000 rows/s written, 199 / 199 / 165 MB.
"""


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise whatever SQLite raises as a `StoreError` that names the file; so too what damaged values lead to."""
    try:
        with connecting.translate_errors(f"store {path}", _REMEDIES):
            yield
    except UnicodeEncodeError as error:
        raise StoreError(f"store {path}: not valid Unicode: {error.object!r}: rename it") from error
    except RAISED as error:
        if not (found := damage(path)):
            raise
        raise damaged(path, found) from error


def damaged(path: Path, found: str) -> StoreError:
    """The error of a store that holds what it never wrote."""
    return StoreError(f"store {path} is damaged ({found}): put back a backup, or index into a new --store")


_REMEDIES = {
    **REMEDIES,
    sqlite3.SQLITE_CORRUPT: ": the file is damaged; put back a backup, or index into a new --store",
    sqlite3.SQLITE_NOTADB: ": not an SQLite file; give another --store",
}


def open_writer(path: Path) -> Connection:
    """Open for writing, beginning a new store where there is none. The caller holds the `WriterLock`."""
    refuse_foreign_file(path)
    with translate_errors(path):
        connection = connect(path, "mode=rwc", timeout=BUSY_TIMEOUT)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # heeded only before the first write
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            # In WAL mode readers and the writer do not wait for each other. NORMAL syncs at checkpoints
            # only: a kill loses nothing; a power cut may lose the last transactions, each of them
            # whole, so that the ledger never says more than the vectors that are there.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes of WAL kept after a checkpoint
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> Connection:
    """Open for reading; never creates a store.

    Raises `StoreError` where there is no store, or none that this version can read.
    """
    refuse_foreign_file(path)
    with translate_errors(path):
        connection = _connect_reader(path)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            newest = len(_scripts(MIGRATIONS))
            version = _schema(connection, path, newest)
            if not version:  # a run was killed just as it began the file
                raise StoreError(f"store {path} holds nothing yet: run `embedmill index` first")
            if version < newest:
                raise StoreError(
                    f"store {path} was written by an older embedmill (schema {version}, "
                    f"this one reads {newest}): run `embedmill index` to bring it up to date"
                )
        except BaseException:
            connection.close()
            raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path, folder: Path = MIGRATIONS) -> None:
    """Bring the schema up to date, each step in a transaction of its own, together with its record."""
    scripts = _scripts(folder)
    version = _schema(connection, path, len(scripts))
    for number, script in enumerate(scripts, 1):
        if number <= version:
            continue
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script.read_text('utf-8')}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _scripts(folder: Path) -> list[Path]:
    scripts = sorted(folder.glob("[0-9]*.sql"))
    if [int(script.name[:4]) for script in scripts] != list(range(1, len(scripts) + 1)):
        raise StoreError(f"{folder}: migrations are not numbered 0001, 0002 ...: install embedmill anew")
    return scripts


def _schema(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """The number of the file's schema; 0 for an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        filled = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'embedmill_tables'").fetchone()
        if filled:
            raise StoreError(
                f"{path} has tables that ingest has filled, but is no store of files: give the TABLE (`embedmill "
                "status` lists them), or another --store"
            )
        raise StoreError(f"{path} is an SQLite database, but no embedmill store: give another --store")
    if version > newest:
        raise StoreError(
            f"store {path} was written by a newer embedmill (schema {version}, "
            f"this one knows {newest}): upgrade embedmill"
        )
    return int(version)


def refuse_foreign_file(path: Path) -> None:
    """SQLite would take an empty or a short file for a new database, and complains of others late."""
    if starts_otherwise(path):
        raise StoreError(f"{path} is not an embedmill store: give another --store")


def _connect_reader(path: Path) -> Connection:
    if not path.exists() or not path.stat().st_size:
        raise StoreNotFound(f"no store at {path}: run `embedmill index` first")
    # "rw" tidies up the files beside the store that reading in WAL mode makes, and writes nothing else. Where
    # nothing may be written, "ro" reads a write-ahead log that is there; without one, everything is
    # in the file, which nobody is writing: "immutable" reads it without locks.
    accesses = ["mode=rw", "mode=ro"]
    if not path.with_name(path.name + "-wal").exists():
        accesses.append("mode=ro&immutable=1")
    for access in accesses:
        connection = connect(path, access, timeout=BUSY_TIMEOUT)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.Error as error:
            connection.close()
            forbidden = code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
            if not forbidden or access == accesses[-1]:
                raise
        else:
            break
    return connection
