"""What queries give, by name instead of by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString, TypeVar

from embedmill.storage.postgres.connection import Connection

from psycopg import sql  # isort: skip - after the module that says what to install
from psycopg.abc import Params  # isort: skip
from psycopg.rows import args_row, scalar_row  # isort: skip

T = TypeVar("T")
Query = LiteralString | sql.SQL | sql.Composed


def scalar(connection: Connection, query: Query, parameters: Params | None = None) -> Any:
    """The first value of the first row; None where there is no row."""
    return connection.cursor(row_factory=scalar_row).execute(query, parameters).fetchone()


def scalars(connection: Connection, query: Query, parameters: Params | None = None) -> list[Any]:
    """The first value of each row."""
    return connection.cursor(row_factory=scalar_row).execute(query, parameters).fetchall()


def records(connection: Connection, make: Callable[..., T], query: Query, parameters: Params | None = None) -> list[T]:
    """What `make` makes of each row, whose columns are its arguments."""
    return connection.cursor(row_factory=args_row(make)).execute(query, parameters).fetchall()
