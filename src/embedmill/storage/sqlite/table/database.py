"""The user's SQLite file: opened as it is, read and changed a little at a time."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from embedmill.core.errors import StoreError, StoreNotFound, UsageError
from embedmill.core.rows import LARGE_PAGE, Key
from embedmill.storage.catalog import TRACKING_LOST
from embedmill.storage.sqlite.connection import (
    APPLICATION_ID,
    REMEDIES,
    Connection,
    code,
    connect,
    starts_otherwise,
    translate_errors,
)
from embedmill.storage.sqlite.table.sql_parts import bound

PAGE: Final = 1000
"""Rows that are read, or changed, at once: some 5 ms. Without a write-ahead log nobody can write meanwhile."""

_FIRST_PAGE: Final = 100
"""Rows of a page of which it is not known how large they are."""

_CACHE_KIB: Final = 16_384  # of memory; the default of 2 MB holds few of the pages of the indexes

_REMEDIES: Final = {
    **REMEDIES,
    sqlite3.SQLITE_CORRUPT: ": the file is damaged; put back a backup",
    sqlite3.SQLITE_NOTADB: ": it is no SQLite database; give another --store",
}

_OF_TRACKING: Final = re.compile(r"no such table: (main\.)?embedmill_marks_\d+$")


class NamedRow(Protocol):
    """A named tuple for the rows of a statement. The columns of the key, of any number, follow those with a name."""

    @property
    def _fields(self) -> tuple[str, ...]:
        """The names."""


R = TypeVar("R", bound=NamedRow)


def named(kind: type[R], rows: Iterable[tuple[Any, ...]]) -> list[R]:
    """The rows of a statement by name: as they are, since a key that is taken out of each row would be felt."""
    return list(map(partial(tuple.__new__, cast(Any, kind)), rows))


def key_of(row: NamedRow) -> Key:
    """The key of a row."""
    return cast(Any, row)[len(row._fields) :]  # type: ignore[no-any-return]


class Database:
    """One connection, used by several threads in turn. Creates no file, and leaves the journal mode as it is."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Open; locks of others are waited for up to `timeout` seconds.

        Raises `StoreNotFound` where there is no file, `UsageError` for a store of embedmill's, `StoreError` for a file
        that is no database or cannot be read.
        """
        self.path = path
        self.url = f"sqlite:{path}"
        self._timeout = timeout
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._process = os.getpid()
        if starts_otherwise(path):
            raise StoreError(f"{path} is no SQLite database: give another --store")
        if not path.exists():
            raise StoreNotFound(f"there is no database at {path}: check --store; a table must be there before")
        with self._translated():
            self._connection = connect(path, "mode=rw", timeout=timeout)
        try:
            with self.reading() as db:
                db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                (application,) = db.execute("PRAGMA application_id").fetchone()
            if application == APPLICATION_ID:
                raise UsageError(f"{path} is a store of `embedmill index`, not a database with a table to fill")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For statements whose rows are all fetched at once: as long as one is open, nobody may be able to write."""
        if os.getpid() != self._process:  # SQLite's locks are not its own there
            raise StoreError(f"{self.url} was opened before this process was forked: open it anew in this one")
        with self._lock, self._translated():
            if self._connection is None:
                raise StoreError(f"{self.url} is closed")
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All that is done is written, or nothing."""
        with self.reading() as db, db.transaction():
            yield db

    def finish_within(self, seconds: float) -> None:
        """From now on locks of others are waited for no longer than this; what need not be done now is not."""
        if self._connection is not None:
            self._connection.finish_within(seconds)

    @contextmanager
    def scanning(self) -> Iterator[Connection]:
        """As `reading`, for what need not be finished once the run is stopped: it raises `Stopped` then."""
        with self.reading() as db, db.stoppable():
            yield db

    def scan(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """As `fetch`, but raises `Stopped` where the run is stopped."""
        with self.scanning():
            return self.fetch(statement, values)

    def fetch(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement; texts that are not valid UTF-8 come with surrogates (PEP 383)."""
        with self.reading() as db:
            try:
                return db.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if code(error):
                    raise
                # The module's own: it cannot decode a text. What can takes twice as long, and is seldom needed.
                db.text_factory = _text
                return db.execute(statement, values).fetchall()

    def pages(
        self,
        statement: Callable[[Key | None], str],
        after: Key | None,
        kind: type[R],
        *,
        first: int = PAGE,
        values: Mapping[str, Any] | None = None,
    ) -> Iterator[list[R]]:
        """The rows of a statement for those behind a key, in short reads; none is open while a page is looked at.

        The first page has at most `first` rows; they grow, since where few rows are of use many are looked at, unless
        their `content`, a text or BLOB of any length, is large. Raises `Stopped` where the run is stopped.
        """
        content = attrgetter("content") if hasattr(kind, "content") else None
        limit = first if content is None else min(first, _FIRST_PAGE)
        while True:
            page = named(kind, self.scan(statement(after), {**(values or {}), **bound(after or ()), "limit": limit}))
            if page:
                yield page
            if len(page) < limit:
                return
            after = key_of(page[-1])
            if content is not None and sum(map(len, filter(None, map(content, page)))) > LARGE_PAGE:
                limit = max(limit // 2, 1)
            else:
                limit = max(limit, min(2 * limit, PAGE))

    def close(self) -> None:
        """May be called twice. In a process that was forked it stays the other one's."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The border: whatever SQLite raises leaves as a `StoreError` that names the database."""
        with translate_errors(self.url, _REMEDIES, self._when_locked):
            try:
                yield
            except sqlite3.OperationalError as error:
                if _OF_TRACKING.search(str(error)):
                    raise StoreError(f"{self.url}: {error}{TRACKING_LOST}") from error
                raise

    def _when_locked(self) -> str:
        stopped = self._connection is not None and self._connection.stopping
        tried = "until it was stopped" if stopped else f"for {self._timeout:g} s: --db-timeout"
        return f" (tried {tried}): run again when it has ended"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
