"""The table of metrics beside an SQLite table, and its SQL."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from embedmill.core.errors import StoreError
from embedmill.core.rows import Key, Metrics
from embedmill.runtime.computed import computed_once
from embedmill.storage import columns as naming
from embedmill.storage.columns import quoted
from embedmill.storage.sqlite.table.contents import digest, is_text
from embedmill.storage.sqlite.table.database import PAGE, Database, key_of
from embedmill.storage.sqlite.table.sql_parts import SqlParts, bound, declared, filled
from embedmill.storage.sqlite.table.table_spec import column_names, folded

_KEY: Final = """
SELECT c.name, c.type, k.coll
FROM pragma_index_list(:table) AS i, pragma_index_xinfo(i.name) AS k, pragma_table_xinfo(:table) AS c
WHERE i.origin = 'pk' AND k.key AND c.name = k.name ORDER BY k.seqno
"""


_NEW_METRICS: Final = """
ON CONFLICT ({keys}) DO UPDATE SET
    characters = excluded.characters, words = excluded.words, tokens = excluded.tokens,
    frequency = NULL, text_hash = excluded.text_hash, text_digest = excluded.text_digest
"""


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
        return self.fill(_MEASURE + _NEW_METRICS, given=self.given(key))

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

    measure_mark = filled(
        """
        INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
        SELECT {keys_of_marks}, :characters, :words, :tokens, m.hash, :digest FROM {marks} AS m WHERE m.id = :mark
        """  # noqa: S608
        + _NEW_METRICS
    )
    """Write the metrics of a row by its mark."""


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

_MEASURE: Final = """
INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
VALUES ({given}, :characters, :words, :tokens, :hash, :digest)
"""


class SqliteMetrics:
    """``<table>_metrics``. A frequency that is NULL says that texts are to be counted."""

    def __init__(self, database: Database, statements: MetricsStatements, before: str | None = None) -> None:
        """`before` is the name that the table had at its last run, where it is another now."""
        self._before = before
        self._database = database
        self._statements = statements

    def check(self) -> None:
        """Raise `StoreError` where there can be none: its name is taken, or a key column has one of its names."""
        spec = self._statements.spec
        keys = [folded(name) for name in spec.key_names]
        naming.check_metrics_keys(keys, spec.title, spec.metrics_title)
        with self._database.reading() as db:
            there = column_names(db, self._statements.metrics)
        if there:
            naming.check_metrics_table(map(folded, there), spec.metrics_title)

    def prepare(self) -> None:
        """Create the table where there is none, with the key that the user's table has now where it has another.

        Raises `StoreError` where the name is taken.
        """
        statements = self._statements
        self.check()
        if self._has_key():
            return
        with self._database.transaction() as db:
            if not column_names(db, statements.metrics):
                self._follow(db)
            if column_names(db, statements.metrics) and not self._has_key():
                db.execute(statements.drop_metrics)  # what was measured is measured again: that is quick
            db.execute(statements.create_metrics)
        self.check()

    def _follow(self, db: sqlite3.Connection) -> None:
        """Rename it as the user has renamed the table."""
        older = naming.metrics_name(self._before) if self._before else ""
        if self._before and column_names(db, older) and not column_names(db, self._before):
            with suppress(StoreError):  # another's of that name
                naming.check_metrics_table(map(folded, column_names(db, older)), older)
                db.execute(f"ALTER TABLE {quoted(older)} RENAME TO {quoted(self._statements.metrics)}")

    def _has_key(self) -> bool:
        """Whether its key is that of the user's table."""
        with self._database.reading() as db:
            rows = db.execute(_KEY, {"table": self._statements.metrics}).fetchall()
        keys = [(folded(name), f"{kind} COLLATE {quoted(collation)}") for name, kind, collation in rows]
        return keys == [(folded(key.name), declared(key)) for key in self._statements.spec.keys]

    def missing(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""
        found: list[tuple[Key, str]] = []
        for page in self._database.pages(self._statements.measured, after, MeasuredRow):
            for row in page:
                if (row.hash is None or digest(row.content) != row.hash) and is_text(row.content):
                    found.append((key_of(row), row.content))
                    if len(found) == limit:
                        return found
        return found

    def write_of_marks(self, db: sqlite3.Connection, rows: Sequence[tuple[int, Metrics]]) -> None:
        """Write the metrics of rows by their marks, in the caller's transaction; the hash is the mark's."""
        db.executemany(self._statements.measure_mark, [{"mark": mark} | _numbers(metrics) for mark, metrics in rows])

    def write(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""
        with self._database.transaction() as db:
            for key, text_hash, metrics in rows:
                db.execute(self._statements.measure(key), bound(key) | {"hash": text_hash} | _numbers(metrics))

    def finish(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""
        for page in self._pages():
            gone = [{"number": number} for number, is_textless in page if is_textless]
            if gone:
                with self._database.transaction() as db:
                    db.executemany(self._statements.remove_metrics, gone)
                    db.execute(self._statements.count_again)
        ((uncounted,),) = self._database.fetch(self._statements.has_uncounted, {})
        if uncounted:
            self._count()

    def _count(self) -> None:
        """In a table of this connection's, and a page at a time: neither memory nor patience are without end."""
        with self._database.reading() as db:
            db.execute(DROP_FREQUENCIES)
            db.execute(CREATE_FREQUENCIES)
        limits: list[dict[str, float]] = []
        for page in self._pages():
            limits.append({"first": page[0][0], "last": page[-1][0]})
            with self._database.scanning() as db:
                db.execute(self._statements.count_texts, limits[-1])
        for each in limits:
            wrong = self._database.scan(self._statements.miscounted, each)
            if wrong:
                values = [{"number": number, "frequency": frequency} for number, frequency in wrong]
                with self._database.transaction() as db:
                    db.executemany(self._statements.write_frequency, values)
        with self._database.reading() as db:
            db.execute(DROP_FREQUENCIES)

    def _pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """The numbers of the metrics, each with whether its row is gone or has no text any more."""
        after: float = -math.inf
        while True:
            page = self._database.scan(self._statements.metrics_page, {"after": after, "limit": PAGE})
            if not page:
                return
            yield page
            after = page[-1][0]


def _numbers(metrics: Metrics) -> dict[str, Any]:
    """Metrics as a statement's parameters."""
    return {
        "characters": metrics.characters,
        "words": metrics.words,
        "tokens": metrics.tokens,
        "digest": metrics.digest,
    }
