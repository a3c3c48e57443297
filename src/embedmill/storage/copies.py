"""Tables to try things on, which are gone afterwards."""

from __future__ import annotations

import secrets
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedmill.core.errors import StoreError

NAME: Final = "texts"
"""Of the table: columns ``id`` and ``text``."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Where texts have been copied to."""

    url: str
    table: str
    schema: str  # for what embedmill notes


@contextmanager
def copied(url: str, texts: Sequence[str]) -> Iterator[Copy]:
    """A new table with these texts in the same kind of database; a schema, or a file, of its own.

    Raises `StoreError` where this user may not create it.
    """
    with _in_postgres(url, texts) if url.startswith("postgres") else _in_sqlite(texts) as copy:
        yield copy


_LEFT: Final = r"""
    SELECT nspname FROM pg_namespace
    WHERE nspname ~ '^embedmill_bench_[0-9a-f]{8}$' AND pg_has_role(nspowner, 'USAGE')
    AND pg_try_advisory_xact_lock(hashtextextended(nspname, 0))
"""


@contextmanager
def _in_postgres(url: str, texts: Sequence[str]) -> Iterator[Copy]:
    from embedmill.storage.postgres.connection import connect, require_primary, require_session, shown, told

    from psycopg import errors, sql  # isort: skip - after the module that says what to install

    schema = f"embedmill_bench_{secrets.token_hex(4)}"
    name = sql.Identifier(schema, NAME)
    with connect(url) as connection:
        with told(url):
            require_session(connection, url)
            require_primary(connection, url)
            # Held as long as we live: what a bench that was killed has left is removed by the next.
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [schema])
            for (left,) in connection.execute(_LEFT).fetchall():
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(left)))
            try:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            except errors.InsufficientPrivilege as error:
                grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                    sql.Identifier(connection.info.dbname), sql.Identifier(connection.info.user)
                )
                raise StoreError(
                    f"{shown(url)}: this user may not create a schema for the copy: let an administrator run "
                    f"{grant.as_string(connection)}"
                ) from error
        try:
            with told(url):
                connection.execute(sql.SQL("CREATE TABLE {} (id integer PRIMARY KEY, text text NOT NULL)").format(name))
                with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
                    for row in enumerate(texts, 1):
                        copy.write_row(row)
            yield Copy(url, f"{schema}.{NAME}", schema)
        finally:
            with told(url):
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@contextmanager
def _in_sqlite(texts: Sequence[str]) -> Iterator[Copy]:
    with tempfile.TemporaryDirectory(prefix="embedmill-bench-") as folder:
        path = Path(folder) / "copy.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"CREATE TABLE {NAME} (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            connection.executemany(f"INSERT INTO {NAME} VALUES (?, ?)", enumerate(texts, 1))  # noqa: S608 - a constant
        yield Copy(f"sqlite:{path}", NAME, "")
