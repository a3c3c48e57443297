"""Tables whose rows get vectors, by the scheme of their database's URL."""

from __future__ import annotations

from typing import Any

from embedmill.errors import UsageError
from embedmill.interfaces import Table
from embedmill.postgres import urls


def open_table(url: str, name: str, **options: Any) -> Table:
    """Find a table in a database, and choose its columns; changes nothing yet.

    `options` are those of the table's class (`embedmill.tables.postgres.PostgresTable`,
    `embedmill.tables.sqlite.SqliteTable`). Raises `UsageError` for a URL
    that no database knows and for a table or column that is not there, does not fit or is not clear; `StoreError` where
    the database cannot be used.
    """
    scheme, colon = urls.scheme(url), ":" in url
    if scheme in urls.SCHEMES:
        from embedmill.tables.postgres import PostgresTable

        return PostgresTable(url, name, **options)
    if scheme == "sqlite" and colon:
        from embedmill.tables.sqlite import SqliteTable

        return SqliteTable(url, name, **options)
    shown = f"{scheme}:..." if colon else repr(url)  # the rest may hold a password
    raise UsageError(f"no tables are known in {shown}: give --store postgresql://... or sqlite:...")
