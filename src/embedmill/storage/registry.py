"""Stores, by the scheme of their URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from embedmill.core.errors import UsageError
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.storage.postgres import DB_TIMEOUT, DEFAULT_SCHEMA, urls
from embedmill.storage.rooted import Backend, rooted
from embedmill.storage.sqlite.files import path_of
from embedmill.storage.sqlite.store import store as sqlite
from embedmill.storage.sqlite.store.damage import damage as damage_of
from embedmill.storage.sqlite.store.database import damaged

DEFAULT_URL = "sqlite:.embedmill/index.db"


class Opener(Protocol):
    """Opens the stores of one scheme; see `open_store`."""

    def __call__(self, url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> Backend:
        """Open this store."""


def _open_postgres(url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> Backend:
    from embedmill.storage.postgres import store as postgres  # an extra, and slow to import

    return postgres.open_url(url, write=write, create=create, schema=schema, db_timeout=db_timeout)


def _no_files(url: str) -> list[str]:
    return []


OPENERS: dict[str, Opener] = {
    "sqlite": sqlite.open_url,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}

LOCAL_FILES: dict[str, Callable[[str], list[str]]] = {
    "sqlite": sqlite.local_files,
    "postgresql": _no_files,
    "postgres": _no_files,
}


def open_store(
    url: str = DEFAULT_URL,
    *,
    write: bool = True,
    create: bool = True,
    schema: str = DEFAULT_SCHEMA,
    db_timeout: float = DB_TIMEOUT,
) -> Store:
    """Open a store.

    `write` takes the store's writer lock until `close`; readers work meanwhile. `create` begins a new store
    where there is none, and means nothing to a reader: reading never creates a store. `schema` is where in a
    PostgreSQL database the store lies, and `db_timeout` the seconds for which a lost connection to it is made anew;
    other stores have no use for them.

    Raises `UsageError` for a URL that no store knows, `StoreBusy` where another run is writing, `MissingExtra` where
    a package that the store needs is not installed, and `StoreError` where there is no store or it cannot be used.
    """
    _opened.add(url)
    return rooted(OPENERS[_scheme(url)](url, write=write, create=create, schema=schema, db_timeout=db_timeout))


_opened: set[str] = set()


def damage() -> str:
    """What is damaged in a store that this process has opened, in one line; "" where nothing is known to be.

    For errors that damaged values lead to far from where they were read.
    """
    for url in _opened:
        if _scheme(url) == "sqlite" and (found := damage_of(path_of(url))):
            return str(damaged(path_of(url), found))
    return ""


def local_files(url: str) -> list[str]:
    """The files of this machine that hold a store, absolute: a source must not take them for documents."""
    return LOCAL_FILES[_scheme(url)](url)


def shown(url: str) -> str:
    """The URL of a store as it may stand in a report, before there is a store: without a password."""
    if _scheme(url) == "sqlite":
        return url
    from embedmill.storage.postgres import connection as connecting

    return connecting.shown(url)


def _scheme(url: str) -> str:
    scheme, colon = urls.scheme(url), ":" in url
    if not colon or scheme not in OPENERS:
        shown = f"{scheme}:..." if colon else repr(url)  # the rest may hold a password
        known = ", ".join(f"{name}:..." for name in OPENERS)
        raise UsageError(f"unknown store {shown}: give one of {known}")
    return scheme


def open_table(url: str, name: str, **options: Any) -> Table:
    """Find a table in a database, and choose its columns; changes nothing yet.

    `options` are those of the table's class (`embedmill.storage.postgres.table.PostgresTable`,
    `embedmill.storage.sqlite.table.SqliteTable`). Raises `UsageError` for a URL
    that no database knows and for a table or column that is not there, does not fit or is not clear; `StoreError` where
    the database cannot be used.
    """
    scheme, colon = urls.scheme(url), ":" in url
    if scheme in urls.SCHEMES:
        from embedmill.storage.postgres.table import PostgresTable

        return PostgresTable(url, name, **options)
    if scheme == "sqlite" and colon:
        from embedmill.storage.sqlite.table import SqliteTable

        return SqliteTable(url, name, **options)
    shown = f"{scheme}:..." if colon else repr(url)  # the rest may hold a password
    raise UsageError(f"no tables are known in {shown}: give --store postgresql://... or sqlite:...")
