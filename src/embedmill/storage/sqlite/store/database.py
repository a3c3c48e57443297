"""An SQLite file that is a store: its lock, opening it, bringing its schema up to date, its errors, what is damaged."""

from __future__ import annotations

import os
import re
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from embedmill.core.errors import StoreBusy, StoreError, StoreNotFound
from embedmill.runtime.locks import acquire, is_held, release
from embedmill.storage.checksums import checksums
from embedmill.storage.sqlite import connection as connecting
from embedmill.storage.sqlite.connection import APPLICATION_ID, REMEDIES, Connection, code, connect, starts_otherwise

MIGRATIONS = Path(__file__).parent / "migrations"

_MOMENT: Final = 0.05  # seconds

BUSY_TIMEOUT = 30.0  # seconds; only checkpoints and other readers ever hold the file, for moments

CACHE_KIB = 16_384  # of memory for each connection; the default of 2 MB holds few of the pages of the indexes

PAGE_SIZE = 16_384
"""Bytes. A vector of 384 numbers takes 1.5 KB, of 768 3 KB: a small page is left with room for half a one.
Measured with 40,000 rows in pages of 4,096 / 8,192 / 16,384 bytes:

384 numbers: 38,000 / 53,000 / 67,000 rows/s written, 117 / 101 / 99 MB;
768 numbers: 25,000 / 29,000 / 47,000 rows/s written, 199 / 199 / 165 MB.
"""


FILES: Final = ("", "-wal", "-shm", "-journal", ".lock", ".matrix")
"""What the names of a store's files have behind that of the store."""


def beside(path: Path, ending: str) -> Path:
    """One of the files of the store at this path."""
    return path.with_name(path.name + ending)


_RAISED: Final = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, struct.error)
"""What Python raises over a value of another type, or length, than the one expected."""

_TYPES: Final = {"INTEGER": "integer", "TEXT": "text", "BLOB": "blob"}

_FACTS: Final = {"generation": "blob", "space": "text", "fields": "text", "dimension": "integer", "model": "text"}

_GONE: Final = re.compile(r"no such (table|column): (?:main\.)?(\w+)$")

_MISSIZED: Final = """
    SELECT count(*) FROM vectors WHERE length(vector) <> 4 * (SELECT value FROM meta WHERE key = 'dimension')
"""


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise whatever SQLite raises as a `StoreError` that names the file; so too what damaged values lead to."""
    try:
        with connecting.translate_errors(f"store {path}", _REMEDIES), _gone_as_damage(path):
            yield
    except UnicodeEncodeError as error:
        raise StoreError(f"store {path}: not valid Unicode: {error.object!r}: rename it") from error
    except _RAISED as error:
        if not (found := damage(path)):
            raise
        raise damaged(path, found) from error


@contextmanager
def _gone_as_damage(path: Path) -> Iterator[None]:
    """Raise what SQLite says of a table that is gone as the damage that it is."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if gone := _GONE.match(str(error)):
            raise damaged(path, f"its {gone[1]} {gone[2]} is gone") from error
        raise


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
                    f"store {path} was written by an older embedmill, or by a run that ended as it made it (schema "
                    f"{version}, this one reads {newest}): run `embedmill index` to bring it up to date"
                )
        except BaseException:
            connection.close()
            raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path, folder: Path = MIGRATIONS) -> None:
    """Bring the schema up to date, each step in a transaction of its own, together with its record."""
    scripts = _scripts(folder)
    version = _schema(connection, path, len(scripts))
    if version < len(scripts):
        connection.create_function("embedmill_checksum", 2, _checksum, deterministic=True)
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


def _checksum(key: object, blob: object) -> int:
    """What migrations know a vector by that is there already; 0 for what is none, which `verify` tells."""
    return next(checksums([key], [blob])) if isinstance(key, bytes) and isinstance(blob, bytes) else 0


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


class WriterLock:
    """Held from construction to `release`, or until the process dies: the kernel lets go of it.

    The file itself stays. Removing it would let two runs hold "the" lock, each on a file of its own.
    """

    def __init__(self, store: Path) -> None:
        path = _lock_file(store)
        try:
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}: check the permissions") from error
        try:
            self._acquire()
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).decode("ascii", "replace").strip()
            self._file.close()
            process = f"process {holder}" if holder else "another process"
            raise StoreBusy(f"{process} is writing to the store {store}: wait until it has ended") from error
        with suppress(OSError):  # a full disk: the lock holds without the pid, which is for people
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n".encode("ascii"))

    def _acquire(self) -> None:
        """In two attempts: who looks whether it is locked (see `is_locked`) holds it for a moment."""
        try:
            acquire(self._file.fileno())
        except OSError:
            time.sleep(_MOMENT)
            acquire(self._file.fileno())

    def release(self) -> None:
        """Let the next run in; may be called twice."""
        if not self._file.closed:
            release(self._file.fileno())
        self._file.close()


def is_locked(store: Path) -> bool:
    """Whether a run writes to the store: it holds the `WriterLock`."""
    try:
        file = _lock_file(store).open("rb", buffering=0)
    except OSError:  # no run has been here, or none of which this user may know
        return False
    with file:
        return is_held(file.fileno())


def _lock_file(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


def misfits(db: sqlite3.Connection, *, but: str = "") -> Iterator[str]:
    """The columns that hold values of another type than the schema says, a line each; `but`: a table to pass over."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    for (table,) in db.execute(f"{tables} AND name <> ? ORDER BY name", (but,)).fetchall():
        for column, kind, fits in _typed(db, table):
            query = f'SELECT count(*) FROM "{table}" WHERE NOT ({fits})'  # noqa: S608 - the schema's own names
            (wrong,) = db.execute(query).fetchone()
            if wrong:
                yield f"{wrong:,} rows of table {table} have a {column} that is no {kind}"
    for key, kind in _FACTS.items():
        for (held,) in db.execute("SELECT typeof(value) FROM meta WHERE key = ?", (key,)).fetchall():
            if held != kind:
                yield f"the {key} that the store is bound to is no {kind}"


def remove_misfits(db: sqlite3.Connection) -> None:
    """Remove the rows that hold values of another type than the schema says, where those can be stored again."""
    for table in ("documents", "chunks", "failures"):
        for _, _, fits in _typed(db, table):
            db.execute(f'DELETE FROM "{table}" WHERE NOT ({fits})')  # noqa: S608


def _typed(db: sqlite3.Connection, table: str) -> Iterator[tuple[str, str, str]]:
    """The columns of a table that have a type: name, type, and a condition that a row's value is of it."""
    for _, column, declared, required, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
        kind = _TYPES.get(declared.upper())
        if kind is not None:
            allowed = f"'{kind}'" if required else f"'{kind}', 'null'"
            yield column, kind, f'typeof("{column}") IN ({allowed})'


def damage(path: Path) -> str:
    """The first that is damaged in a file, in one line; "" where there is nothing, or that cannot be told."""
    try:
        with closing(connect(path, "mode=ro", timeout=5.0)) as db:
            if found := next(misfits(db), ""):
                return found
            (wrong,) = db.execute(_MISSIZED).fetchone()
            return f"{wrong:,} vectors are not as long as the store's have to be" if wrong else ""
    except sqlite3.Error:
        return ""
