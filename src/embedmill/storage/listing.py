"""The tables of a database that embedmill fills."""

from __future__ import annotations

from embedmill.core.errors import StoreBusy, StoreError, UsageError
from embedmill.storage.catalog import Entry
from embedmill.storage.columns import shown
from embedmill.storage.postgres import urls


def listed(url: str, *, schema: str, lock_timeout: float) -> list[Entry]:
    """The tables of a database that have been filled, or begun, and are still there.

    `schema` is where a PostgreSQL database knows of them; locks on an SQLite file are waited for up to `lock_timeout`
    seconds. Empty where there is no such database, or a store in its place.

    Raises `StoreError` where it cannot be used.
    """
    scheme, colon = urls.scheme(url), ":" in url
    if scheme in urls.SCHEMES:
        return _in_postgres(url, schema)
    return _in_sqlite(url, lock_timeout) if scheme == "sqlite" and colon else []


def names(url: str, *, schema: str, lock_timeout: float) -> list[str]:
    """The tables of a database that are not embedmill's, as a command takes their names.

    Arguments are those of `listed`. Raises `UsageError` and `StoreError`.
    """
    found = [row for row in _all(url, lock_timeout) if row[0] != schema]
    metrics = {(place, f"{name}_metrics") for place, name in found}
    return sorted(shown(filter(None, row)) for row in found if row not in metrics)


def _all(url: str, lock_timeout: float) -> list[tuple[str | None, str]]:
    """Schema, where one has to be named, and name of all tables."""
    scheme, colon, _ = url.partition(":")
    if scheme in ("postgresql", "postgres"):
        from embedmill.storage.postgres.connection import connect, told
        from embedmill.storage.postgres.table.target import OTHERS

        with connect(url) as connection, told(url):
            return [(row[0], row[1]) for row in connection.execute(OTHERS)]
    if scheme != "sqlite" or not colon:
        raise UsageError("no tables are known there: give --store postgresql://... or sqlite:...")
    from embedmill.storage.sqlite.files import path_of
    from embedmill.storage.sqlite.table.database import Database

    database = Database(path_of(url), lock_timeout)
    try:
        with database.reading() as db:
            found = db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            return [(None, name) for (name,) in found if not name.startswith("embedmill_")]
    finally:
        database.close()


def _in_postgres(url: str, schema: str) -> list[Entry]:
    from embedmill.storage.postgres.connection import connect, told
    from embedmill.storage.postgres.migrate import check_name
    from embedmill.storage.postgres.table.catalog import Registry

    registry = Registry(check_name(schema))
    with connect(url) as connection, told(url):
        return registry.entries(connection, url)


def _in_sqlite(url: str, lock_timeout: float) -> list[Entry]:
    from embedmill.storage.sqlite.files import path_of
    from embedmill.storage.sqlite.table.catalog import entries
    from embedmill.storage.sqlite.table.database import Database

    path = path_of(url)
    try:
        database = Database(path, lock_timeout)
    except StoreBusy:
        raise
    except (StoreError, UsageError):  # no database of tables: what else it is others can tell
        return []
    try:
        with database.reading() as db:
            return entries(db, path)
    finally:
        database.close()
