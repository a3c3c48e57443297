"""A table to try things on, in a schema of its own that is gone afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from embedmill.core.errors import StoreError
from embedmill.storage.driver import SCRATCH, ScratchTable
from embedmill.storage.postgres.connection import connect, require_primary, require_session
from embedmill.storage.postgres.server_errors import translate_errors

from psycopg import errors, sql  # isort: skip - after the module that says what to install

_LEFT: Final = r"""
    SELECT nspname FROM pg_namespace
    WHERE nspname ~ '^embedmill_bench_[0-9a-f]{8}$' AND pg_has_role(nspowner, 'USAGE')
    AND pg_try_advisory_xact_lock(hashtextextended(nspname, 0))
"""


@contextmanager
def scratch_table(url: str, texts: Sequence[str]) -> Iterator[ScratchTable]:
    """See `embedmill.storage.driver.TableDriver`."""
    schema = f"embedmill_bench_{secrets.token_hex(4)}"
    name = sql.Identifier(schema, SCRATCH)
    with connect(url) as connection:
        with translate_errors(url):
            require_session(connection)
            require_primary(connection)
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
                    f"{connection.shown}: this user may not create a schema for the copy: let an administrator run "
                    f"{grant.as_string(connection)}"
                ) from error
        try:
            with translate_errors(url):
                connection.execute(sql.SQL("CREATE TABLE {} (id integer PRIMARY KEY, text text NOT NULL)").format(name))
                with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
                    for row in enumerate(texts, 1):
                        copy.write_row(row)
            yield ScratchTable(url, f"{schema}.{SCRATCH}", schema)
        finally:
            with translate_errors(url):
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
