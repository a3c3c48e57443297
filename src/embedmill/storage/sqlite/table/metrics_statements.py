"""The SQL about the metrics of an SQLite table."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from embedmill.core.rows import Key
from embedmill.runtime.computed import computed_once
from embedmill.storage.sqlite.connection import quoted
from embedmill.storage.sqlite.table.sql_parts import SqlParts, declared, filled


class MeasuredRow(NamedTuple):
    """A row of the table that has a text."""

    content: Any
    hash: bytes | None  # of what was measured


class MetricsStatements(SqlParts):
    """Of one table of metrics."""

    @computed_once
    def create_metrics(self) -> str:
        """The table of metrics, with the key columns of the user's."""
        columns = ", ".join(f"{quoted(key.name)} {declared(key)} NOT NULL" for key in self.spec.keys)
        return self.fill(_CREATE_METRICS, columns=columns)

    drop_metrics = filled("DROP TABLE {metrics}")
    """Remove it."""

    def measured(self, after: Key | None) -> str:
        """A page of `MeasuredRow`."""
        return self.fill(_MEASURED, behind=self.behind(after))

    def measure(self, key: Key) -> str:
        """Write the metrics of a row by its key."""
        return self.fill(_MEASURE, given=self.given(key))

    metrics_page = filled("""
        SELECT m.{rowid}, {text} IS NULL FROM {metrics} AS m LEFT JOIN {table} AS t ON {table_is_metrics}
        WHERE m.{rowid} > :after ORDER BY m.{rowid} LIMIT :limit
    """)
    """A page of metrics: their number, and whether their row is gone or has no text any more."""

    remove_metrics = filled("""
        DELETE FROM {metrics} AS m WHERE m.{rowid} = :number
        AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {table_is_metrics} AND {text} IS NOT NULL)
    """)
    """Remove the metrics of a row that is gone, or has no text any more."""

    count_again = filled(
        "UPDATE {metrics} SET frequency = NULL WHERE {rowid} = (SELECT max(m.{rowid}) FROM {metrics} AS m)"
    )
    """See to it that texts are counted, even if not by this run."""

    has_uncounted = filled("SELECT EXISTS (SELECT 1 FROM {metrics} AS m WHERE m.frequency IS NULL)")
    """Whether texts are to be counted."""

    count_texts = filled("""
        INSERT INTO temp.embedmill_frequencies (digest, number)
        SELECT m.text_digest, count(*) FROM {metrics} AS m WHERE m.{rowid} BETWEEN :first AND :last
        GROUP BY m.text_digest
        ON CONFLICT (digest) DO UPDATE SET number = number + excluded.number
    """)
    """Count how often each text stands in a page of metrics."""

    miscounted = filled("""
        SELECT m.{rowid}, f.number FROM {metrics} AS m JOIN temp.embedmill_frequencies AS f ON f.digest = m.text_digest
        WHERE m.{rowid} BETWEEN :first AND :last AND m.frequency IS NOT f.number
    """)
    """The metrics of a page whose frequency is another than what was counted."""

    write_frequency = filled("UPDATE {metrics} SET frequency = :frequency WHERE {rowid} = :number")
    """Write a frequency."""

    @computed_once
    def measure_mark(self) -> str:
        """Write the metrics of a row by its mark."""
        return self.fill(_MEASURE_MARK)


CREATE_FREQUENCIES: Final = """
CREATE TEMP TABLE embedmill_frequencies (digest BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID
"""
DROP_FREQUENCIES: Final = "DROP TABLE IF EXISTS temp.embedmill_frequencies"

_CREATE_METRICS: Final = """
CREATE TABLE IF NOT EXISTS {metrics} (
    {columns},
    characters  INTEGER NOT NULL,
    words       INTEGER NOT NULL,
    tokens      INTEGER,
    frequency   INTEGER,
    text_hash   BLOB    NOT NULL,
    text_digest BLOB    NOT NULL,
    PRIMARY KEY ({keys})
)
"""

_MEASURED: Final = """
SELECT {content}, m.text_hash, {table_keys}
FROM {table} AS t {by_key} LEFT JOIN {metrics} AS m ON {table_is_metrics}
WHERE {text} IS NOT NULL AND {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_NEW_METRICS: Final = """
ON CONFLICT ({keys}) DO UPDATE SET
    characters = excluded.characters, words = excluded.words, tokens = excluded.tokens,
    frequency = NULL, text_hash = excluded.text_hash, text_digest = excluded.text_digest
"""

_MEASURE_MARK: Final = (
    """
INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
SELECT {keys_of_marks}, :characters, :words, :tokens, m.hash, :digest FROM {marks} AS m WHERE m.id = :mark
"""
    + _NEW_METRICS
)

_MEASURE: Final = (
    """
INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
VALUES ({given}, :characters, :words, :tokens, :hash, :digest)
"""
    + _NEW_METRICS
)
