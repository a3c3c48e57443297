"""``<table>_metrics``: what is counted of each row's text, in a PostgreSQL table beside the user's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from embedmill.core.errors import StoreError
from embedmill.core.rows import Key, Metrics
from embedmill.storage import columns as naming
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection, require_primary
from embedmill.storage.postgres.identifiers import Name
from embedmill.storage.postgres.server_errors import reason
from embedmill.storage.postgres.table.session import TableSession
from embedmill.storage.postgres.table.sql_parts import MEASURED, SqlParts, decoded, filled, listed, place
from embedmill.storage.postgres.table.table_spec import full_types

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors, sql  # isort: skip

# The key's columns, in their order.
_KEY: Final = """
    SELECT a.attname
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place
"""

_RIGHTS: Final = ["SELECT", "INSERT", "UPDATE", "DELETE"]


class PostgresMetrics:
    """The metrics of one table."""

    def __init__(
        self, session: TableSession, statements: MetricsStatements, before: tuple[str, str] | None = None
    ) -> None:
        """`before` are schema and name that the table had at its last run, where these are others now."""
        self._before = before
        self._session = session
        self._statements = statements
        self._spec = statements.spec
        self._table = sql.Identifier(self._spec.schema, naming.metrics_name(self._spec.name))

    def check(self) -> None:
        """Raise `StoreError` where there can be none: its name is taken, or a key column has one of its names."""
        self._session.read(self._check)

    def _check(self, connection: Connection) -> int | None:
        """Its oid; None where it is still to be created."""
        naming.check_metrics_keys(self._spec.keys, self._spec.title, self._spec.metrics_title)
        oid = _oid(connection, self._table)
        if oid is not None:
            query = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
            naming.check_metrics_table(connection.scalars(query, [oid]), self._spec.metrics_title)
        return oid

    def prepare(self) -> None:
        """Create it where it is not there, with the key that the table has now where it has another.

        Raises `StoreError` where its name is taken, or this user may not.
        """
        self._session.require_own()
        self._session.read(self._prepare)

    def _prepare(self, connection: Connection) -> None:
        require_primary(connection)
        oid = self._check(connection)
        if oid is None and self._follow(connection):
            oid = self._check(connection)
        if oid is None:
            try:
                with suppress(errors.UniqueViolation, errors.DuplicateTable):  # another run is creating it
                    connection.execute(self._statements.create_metrics, {})
            except errors.InsufficientPrivilege as error:
                raise self._may_not(connection, "create", "CREATE ON SCHEMA {schema}") from error
            oid = self._check(connection)
        if oid is not None:
            self._give_key(connection, oid)
        name = self._table.as_string(connection)
        query = "SELECT bool_and(has_table_privilege(%s, name)) FROM unnest(%s::text[]) name"
        if not connection.scalar(query, [name, _RIGHTS]):
            raise self._may_not(connection, "write", f"{', '.join(_RIGHTS)} ON {{table}}")

    def _follow(self, connection: Connection) -> bool:
        """Rename it as the user has renamed the table; whether that was to be done, and could be."""
        if self._before is None or _oid(connection, sql.Identifier(*self._before)) is not None:
            return False
        schema, name = self._before
        older = naming.metrics_name(name)
        if _oid(connection, sql.Identifier(schema, older)) is None:
            return False
        new = naming.metrics_name(self._spec.name)
        with suppress(errors.InsufficientPrivilege), connection.transaction():  # else it is made anew
            connection.set_local(lock_timeout=BRIEFLY)  # readers go on
            if new != older:
                rename = sql.SQL("ALTER TABLE {} RENAME TO {}")
                connection.execute(rename.format(sql.Identifier(schema, older), sql.Identifier(new)))
            if schema != self._spec.schema:
                move = sql.SQL("ALTER TABLE {} SET SCHEMA {}")
                connection.execute(move.format(sql.Identifier(schema, new), sql.Identifier(self._spec.schema)))
            return True
        return False

    def _give_key(self, connection: Connection, oid: int) -> None:
        """Give it the key that the table has now. What was measured is kept where that is easy, else measured again."""
        types = full_types(connection, oid, connection.scalars(_KEY, [oid]))
        old = {name: kind for name, (kind, _) in types.items()}
        new = dict(zip(self._spec.keys, self._spec.key_types, strict=True))
        if list(old.items()) == list(new.items()):
            return
        try:
            with connection.transaction():
                connection.set_local(lock_timeout=BRIEFLY)  # readers go on
                if list(old.values()) == list(new.values()):
                    statements = self._statements.rename_key(list(old))
                else:
                    statements = self._statements.new_key(list(old))
                for statement in statements:
                    connection.execute(statement, {})
        except errors.InsufficientPrivilege as error:
            raise StoreError(
                f"{connection.shown}: {self._spec.title} has another key than {self._spec.metrics_title}, "
                "which only its owner may change: let the owner drop it (it is made anew), or give --no-metrics"
            ) from error
        except errors.DependentObjectsStillExist as error:
            raise StoreError(
                f"{connection.shown}: {self._spec.title} has another key than {self._spec.metrics_title}, "
                f"which cannot be changed ({reason(error)}): drop what depends on it, or give --no-metrics"
            ) from error

    def _may_not(self, connection: Connection, what: str, right: str) -> StoreError:
        table = self._table
        grant = sql.SQL("GRANT " + right + " TO {user}").format(
            schema=sql.Identifier(self._spec.schema), table=table, user=sql.Identifier(connection.info.user)
        )
        return StoreError(
            f"{connection.shown}: this user may not {what} {table.as_string(connection)}: let its owner run "
            f"{grant.as_string(connection)}, or give --no-metrics"
        )

    def missing(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""
        while True:
            query = self._statements.missing(after=after is not None)
            values = {"limit": limit} | place(after)
            rows = self._session.read(
                partial(Connection.records, make=_text_row, query=query, parameters=values), needless=True
            )
            found = [(key, text) for key, text in rows if text is not None]
            if found or len(rows) < limit:
                return found
            after = rows[-1][0]  # none of these is a text

    def write(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""
        columns = [f"key{number}" for number, _ in enumerate(self._spec.keys, 1)]
        columns += ["hash", "characters", "words", "tokens", "digest"]
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(MEASURED, sql.SQL(", ").join(map(sql.Identifier, columns)))

        def send(copy: psycopg.Copy) -> None:
            for key, digest, each in rows:
                copy.write_row((*key, digest, each.characters, each.words, each.tokens, each.digest))

        self._session.stage(self._statements.create_measured, copying, send, self._statements.write_metrics, {})

    def finish(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""

        def work(connection: Connection) -> None:
            # Two runs that end together would wait for each other's rows.
            lock = [self._spec.lock("metrics")]
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", lock)
            # All rows at once: here the planner may choose.
            connection.set_local(enable_hashjoin="on", enable_seqscan="on")
            connection.execute(self._statements.remove_metrics, {"table_name": self._spec.table.as_string(None)})
            connection.execute(self._statements.count_frequencies, {})

        self._session.write(work, needless=True)


def _oid(connection: Connection, table: sql.Identifier) -> int | None:
    oid: int | None = connection.scalar("SELECT to_regclass(%s)::oid", [table.as_string(connection)])
    return oid


def _text_row(content: str | bytes | None, *key: str) -> tuple[Key, str | None]:
    return key, decoded(content)


class MetricsStatements(SqlParts):
    """Of one table of metrics."""

    create_metrics = filled("""
        CREATE TABLE IF NOT EXISTS {metrics} (
            {key_columns},
            characters  integer NOT NULL,
            words       integer NOT NULL,
            tokens      integer,
            frequency   integer,
            text_hash   bytea   NOT NULL,
            text_digest bytea   NOT NULL,
            PRIMARY KEY ({keys})
        )
    """)
    """The table of metrics, with the key columns of the user's."""

    def rename_key(self, old: Sequence[str]) -> list[sql.Composed]:
        """Give its key's columns the names that those of the table have now."""
        names = [Name(name) for name in old]
        passing = [Name(f"embedmill_{number}") for number, _ in enumerate(old)]  # names may have changed places
        steps = [*zip(names, passing, strict=True), *zip(passing, self._keys, strict=True)]
        return [
            self._fill("ALTER TABLE {metrics} RENAME COLUMN {old} TO {new}", old=one, new=two) for one, two in steps
        ]

    def new_key(self, old: Sequence[str]) -> list[sql.Composed]:
        """Empty it, and give it the key that the table has now."""
        dropped = listed("DROP COLUMN {}", [Name(name) for name in old])
        added = sql.SQL(", ADD COLUMN ").join([sql.SQL(""), *self._columns(self._keys)])
        return [
            self._fill("DELETE FROM {metrics}"),
            self._fill(
                "ALTER TABLE {metrics} {dropped}{added}, ADD PRIMARY KEY ({keys})", dropped=dropped, added=added
            ),
        ]

    def missing(self, *, after: bool) -> sql.Composed:
        """A page of rows whose metrics are missing or of an older text; gives text, keys."""
        return self._fill(_UNMEASURED, behind=self._behind(after))

    create_measured = filled("""
        CREATE TEMP TABLE embedmill_measured (
            {measured_keys}, hash bytea, characters integer, words integer, tokens integer, digest bytea
        ) ON COMMIT DELETE ROWS
    """)
    """Where a connection puts the metrics that it is about to write; emptied by each commit."""

    write_metrics = filled("""
        INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
        SELECT {given_keys}, s.characters, s.words, s.tokens, s.hash, s.digest FROM {measured} s
        ON CONFLICT ({keys}) DO UPDATE SET
            characters = excluded.characters, words = excluded.words, tokens = excluded.tokens,
            text_hash = excluded.text_hash, text_digest = excluded.text_digest
    """)
    """Write the metrics that are staged."""

    count_frequencies = filled("""
        UPDATE {metrics} m SET frequency = f.number
        FROM (SELECT text_digest, count(*)::integer AS number FROM {metrics} GROUP BY text_digest) f
        WHERE f.text_digest = m.text_digest AND m.frequency IS DISTINCT FROM f.number
    """)
    """Count, in one query, how often each text stands in the table."""

    remove_metrics = filled("""
        DELETE FROM {metrics} m
        WHERE NOT EXISTS (SELECT FROM {table} t WHERE {table_is_metrics} AND t.{text} IS NOT NULL)
        AND (NOT row_security_active(%(table_name)s) OR EXISTS (SELECT FROM {table} t WHERE {table_is_metrics}))
    """)
    """Remove the metrics of rows that are gone, or have no text any more; not of those that a policy may hide."""


_UNMEASURED: Final = """
SELECT {content}, {keys_as_text} FROM {table} t LEFT JOIN {metrics} m ON {table_is_metrics}
WHERE t.{text} IS NOT NULL AND m.text_hash IS DISTINCT FROM {hash} {behind}
ORDER BY {table_keys} LIMIT %(limit)s
"""
