"""``<table>_metrics``: what is counted of each row's text, in a PostgreSQL table beside the user's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from embedmill.errors import StoreError
from embedmill.postgres.connecting import Connection, shown
from embedmill.rows import Key, Metrics
from embedmill.tables import naming
from embedmill.tables.postgres.metrics_statements import MetricsStatements
from embedmill.tables.postgres.parts import MEASURED, place
from embedmill.tables.postgres.session import Session

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors, sql  # isort: skip

_RIGHTS: Final = ["SELECT", "INSERT", "UPDATE", "DELETE"]


class PostgresMetrics:
    """The metrics of one table."""

    def __init__(self, url: str, session: Session, statements: MetricsStatements) -> None:
        self._url = url
        self._session = session
        self._statements = statements
        self._target = statements.target
        self._table = sql.Identifier(self._target.schema, naming.metrics_name(self._target.name))

    def check(self) -> None:
        """Raise `StoreError` where there can be none: its name is taken, or a key column has one of its names."""
        self._session.read(self._check)

    def _check(self, connection: Connection) -> bool:
        naming.check_metrics_keys(self._target.keys, self._target.title, self._target.metrics_title)
        found = self._columns(connection)
        if found:
            naming.check_metrics_table(found, self._target.keys, self._target.metrics_title)
        return bool(found)

    def prepare(self) -> None:
        """Create it where it is not there. Raises `StoreError` where its name is taken, or this user may not."""
        self._session.read(self._prepare)

    def _prepare(self, connection: Connection) -> None:
        if not self._check(connection):
            try:
                with suppress(errors.UniqueViolation, errors.DuplicateTable):  # another run is creating it
                    connection.execute(self._statements.create_metrics, {})
            except errors.InsufficientPrivilege as error:
                raise self._may_not(connection, "create", "CREATE ON SCHEMA {schema}") from error
            self._check(connection)
        name = self._table.as_string(connection)
        (allowed,) = connection.execute(
            "SELECT bool_and(has_table_privilege(%s, name)) FROM unnest(%s::text[]) name", [name, _RIGHTS]
        ).fetchone() or (True,)
        if not allowed:
            raise self._may_not(connection, "write", f"{', '.join(_RIGHTS)} ON {{table}}")

    def _columns(self, connection: Connection) -> set[str]:
        """The names of its columns; none where there is no table."""
        rows = connection.execute(
            """SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped""",
            [self._target.schema, naming.metrics_name(self._target.name)],
        )
        return {name for (name,) in rows}

    def _may_not(self, connection: Connection, what: str, right: str) -> StoreError:
        table = self._table
        grant = sql.SQL("GRANT " + right + " TO {user}").format(
            schema=sql.Identifier(self._target.schema), table=table, user=sql.Identifier(connection.info.user)
        )
        return StoreError(
            f"{shown(self._url)}: this user may not {what} {table.as_string(connection)}: let its owner run "
            f"{grant.as_string(connection)}, or give --no-metrics"
        )

    def missing(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""
        query = self._statements.missing(after=after is not None)
        values = {"limit": limit} | place(after)
        rows = self._session.read(lambda connection: connection.execute(query, values).fetchall())
        return [(tuple(key), text) for text, *key in rows]

    def write(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""
        columns = [f"key{number}" for number, _ in enumerate(self._target.keys, 1)]
        columns += ["hash", "characters", "words", "tokens", "digest"]
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(MEASURED, sql.SQL(", ").join(map(sql.Identifier, columns)))

        def send(copy: psycopg.Copy) -> None:
            for key, digest, each in rows:
                copy.write_row((*key, digest, each.characters, each.words, each.tokens, each.digest))

        self._session.stage(copying, send, self._statements.write_metrics, {})

    def finish(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""

        def work(connection: Connection) -> None:
            # Two runs that end together would wait for each other's rows.
            lock = [self._target.lock("metrics")]
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", lock)
            # All rows at once: here the planner may choose.
            connection.execute(
                "SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_seqscan', 'on', true)"
            )
            connection.execute(self._statements.remove_metrics, {"table_name": self._target.table.as_string(None)})
            connection.execute(self._statements.count_frequencies, {})

        self._session.write(work)
