"""What SQLite files answer to the registry; see `embedmill.storage.driver`."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedmill.core.errors import StoreBusy, StoreError, UsageError
from embedmill.storage.driver import SCRATCH, ScratchTable, TableDriver, TableRequest
from embedmill.storage.sqlite.connection import path_of

if TYPE_CHECKING:
    from embedmill.core.interfaces.table import Table
    from embedmill.storage.catalog import ListedTable
    from embedmill.storage.sqlite.store.store import SqliteStore


class SqliteDriver(TableDriver):
    """Each part is imported when it is asked for: a search needs nothing of tables."""

    def open_store(self, url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> SqliteStore:
        """A file holds one store, and is always there: `schema` and `db_timeout` mean nothing here."""
        from embedmill.storage.sqlite.store.store import SqliteStore

        return SqliteStore(path_of(url), write=write, create=create)

    def local_files(self, url: str) -> list[str]:
        """See `Driver`."""
        from embedmill.storage.sqlite.store.database import FILES, beside
        from embedmill.storage.sqlite.store.second_space import second_path

        path = path_of(url).resolve()
        return [str(beside(store, part)) for store in (path, second_path(path)) for part in FILES]

    def find_damage(self, url: str) -> str:
        """See `Driver`."""
        from embedmill.storage.sqlite.store.database import damage, damaged

        path = path_of(url)
        return str(damaged(path, found)) if (found := damage(path)) else ""

    def open_table(self, url: str, name: str, asked: TableRequest) -> Table:
        """See `TableDriver`."""
        from embedmill.storage.sqlite.table import SqliteTable

        return SqliteTable(url, name, asked)

    def list_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[ListedTable]:
        """See `TableDriver`."""
        from embedmill.storage.sqlite.table.catalog import entries
        from embedmill.storage.sqlite.table.database import Database

        path = path_of(url)
        try:
            database = Database(path, lock_timeout)
        except StoreBusy:
            raise
        except (StoreError, UsageError):  # no database of tables: what else it is others can tell
            return []
        with closing(database), database.reading() as db:
            return entries(db, path)

    def user_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[tuple[str | None, str]]:
        """See `TableDriver`."""
        from embedmill.storage.sqlite.table.database import Database

        with closing(Database(path_of(url), lock_timeout)) as database, database.reading() as db:
            found = db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            return [(None, name) for (name,) in found if not name.startswith("embedmill_")]

    @contextmanager
    def scratch_table(self, url: str, texts: Sequence[str]) -> Iterator[ScratchTable]:
        """In a file of its own; see `TableDriver`."""
        with tempfile.TemporaryDirectory(prefix="embedmill-bench-") as folder:
            path = Path(folder) / "copy.db"
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(f"CREATE TABLE {SCRATCH} (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
                connection.executemany(f"INSERT INTO {SCRATCH} VALUES (?, ?)", enumerate(texts, 1))  # noqa: S608 - a constant
            yield ScratchTable(f"sqlite:{path}", SCRATCH, "")


DRIVER: Final = SqliteDriver()
