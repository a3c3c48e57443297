"""The SQL about the metrics of a PostgreSQL table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from embedmill.runtime.computed import computed_once
from embedmill.storage.postgres.identifiers import Name
from embedmill.storage.postgres.table.sql_parts import SqlParts, filled, listed


class MetricsStatements(SqlParts):
    """Of one table of metrics."""

    @computed_once
    def create_metrics(self) -> sql.Composed:
        """The table of metrics, with the key columns of the user's."""
        return self._fill(_CREATE_METRICS, columns=self._columns(self._keys))

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
        added = sql.SQL(", ADD COLUMN ").join([sql.SQL(""), *self._each_column(self._keys)])
        return [
            self._fill("DELETE FROM {metrics}"),
            self._fill(
                "ALTER TABLE {metrics} {dropped}{added}, ADD PRIMARY KEY ({keys})", dropped=dropped, added=added
            ),
        ]

    def missing(self, *, after: bool) -> sql.Composed:
        """A page of rows whose metrics are missing or of an older text; gives text, keys."""
        place = sql.SQL("AND {}").format(self._after()) if after else sql.SQL("")
        return sql.SQL("").join([self._fill(_UNMEASURED), place, self._fill(_UNMEASURED_PAGE)])

    @computed_once
    def create_measured(self) -> sql.Composed:
        """Where a connection puts the metrics that it is about to write; emptied by each commit."""
        return self._fill(_CREATE_MEASURED, columns=listed("{} text", self._mark_keys))

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


_CREATE_METRICS: Final = """
CREATE TABLE IF NOT EXISTS {metrics} (
    {columns},
    characters  integer NOT NULL,
    words       integer NOT NULL,
    tokens      integer,
    frequency   integer,
    text_hash   bytea   NOT NULL,
    text_digest bytea   NOT NULL,
    PRIMARY KEY ({keys})
)
"""

_CREATE_MEASURED: Final = """
CREATE TEMP TABLE embedmill_measured (
    {columns}, hash bytea, characters integer, words integer, tokens integer, digest bytea
) ON COMMIT DELETE ROWS
"""

_UNMEASURED: Final = """
SELECT {content}, {keys_as_text} FROM {table} t LEFT JOIN {metrics} m ON {table_is_metrics}
WHERE t.{text} IS NOT NULL AND m.text_hash IS DISTINCT FROM {hash}
"""

_UNMEASURED_PAGE: Final = """
ORDER BY {table_keys} LIMIT %(limit)s
"""
