"""The SQL of a run over an SQLite table.

Every name is quoted, every value is a parameter. Columns are always named with their table: SQLite takes an unknown
name in double quotes for a text, but not such a one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, TypeGuard

from embedmill.rows import Key
from embedmill.sqlite.files import quoted
from embedmill.tables.sqlite_target import KeyColumn, Target


class Standing(IntEnum):
    """How a row stands."""

    WITHOUT_TEXT = 0
    FOREIGN = 1  # has a vector that embedmill did not write
    HELD = 2
    FAILED = 3
    DUE = 4  # has no vector, or one of another space
    WRITTEN = 5


def bound(key: Key) -> dict[str, Any]:
    """The parameters key1, key2 ... of a statement that was made for this key."""
    return {
        f"key{number}": value.encode("utf-8", "surrogateescape") if _damaged(value) else value
        for number, value in enumerate(key, 1)
    }


def _damaged(value: object) -> TypeGuard[str]:
    """Whether a value is a text that is not valid UTF-8, and so was read with surrogates."""
    if not isinstance(value, str) or value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


@dataclass(frozen=True)
class Statements:
    """Of one table; `marks` and `metrics` are the names of what embedmill knows of its rows."""

    target: Target
    marks: str
    metrics: str

    # Parts

    @property
    def _numbers(self) -> range:
        return range(1, len(self.target.keys) + 1)

    def _same(self, others: Iterable[str]) -> str:
        """Whether row t has the key that these columns have; compared as the index on t compares."""
        return " AND ".join(f"{key} = {other}" for key, other in zip(self._ordered, others, strict=True))

    @property
    def _ordered(self) -> list[str]:
        """The key's columns as their index orders them."""
        return [f"t.{quoted(key.name)} COLLATE {quoted(key.collation)}" for key in self.target.keys]

    @cached_property
    def _names(self) -> dict[str, str]:
        target = self.target
        text, keys = f"t.{quoted(target.text)}", [quoted(key.name) for key in target.keys]
        return {
            "table": quoted(target.name),
            # In the order of the key, never sorted: each page would sort all that is behind it.
            "by_key": f"INDEXED BY {quoted(target.index)}" if target.index else "NOT INDEXED",
            "marks": quoted(self.marks),
            "held": quoted(f"{self.marks}_held"),
            "failed": quoted(f"{self.marks}_failed"),
            "metrics": quoted(self.metrics),
            "text": text,
            # A number is embedded as it is written; a BLOB is no text, and left as it is.
            "content": f"CASE typeof({text}) WHEN 'blob' THEN {text} ELSE CAST({text} AS TEXT) END",
            "vector": f"t.{quoted(target.vector)}" if target.vector else "NULL",
            "filled": quoted(target.vector),
            "keys": ", ".join(keys),
            "first_key": f"t.{keys[0]}",
            "table_keys": ", ".join(f"t.{key}" for key in keys),
            "mark_keys": ", ".join(f"key{number}" for number in self._numbers),
            "keys_of_marks": ", ".join(f"m.key{number}" for number in self._numbers),
            "ordered": ", ".join(self._ordered),
            # Rows whose key is NULL cannot be told apart.
            "known": " AND ".join(f"t.{quoted(key.name)} IS NOT NULL" for key in target.keys if key.nullable) or "1",
            "unknown": " OR ".join(f"t.{quoted(key.name)} IS NULL" for key in target.keys if key.nullable) or "0",
            "table_is_mark": self._same(f"m.key{number}" for number in self._numbers),
            "table_is_metrics": self._same(f"m.{key}" for key in keys),
            "rowid": next(name for name in ("rowid", "oid", "_rowid_") if quoted(name) not in map(str.lower, keys)),
        }

    def _fill(self, text: str, **more: str) -> str:
        return text.format(**self._names, **more)

    def _given(self, key: Key) -> str:
        """A key as parameters. Python cannot hand over a text that is not valid UTF-8 as such."""
        return ", ".join(
            f"CAST(:key{number} AS TEXT)" if _damaged(value) else f":key{number}" for number, value in enumerate(key, 1)
        )

    def _behind(self, after: Key | None) -> str:
        return "" if after is None else f"AND ({self._names['ordered']}) > ({self._given(after)})"

    # What is known of the rows

    @cached_property
    def create_marks(self) -> list[str]:
        """The table of marks: a row for each row that has been claimed, embedded, or has failed."""
        columns = ", ".join(f"key{number} {_declared(key)} NOT NULL" for number, key in enumerate(self.target.keys, 1))
        return [self._fill(each, columns=columns) for each in (_CREATE_MARKS, _CREATE_HELD, _CREATE_FAILED)]

    @cached_property
    def create_metrics(self) -> str:
        """The table of metrics, with the key columns of the user's."""
        columns = ", ".join(f"{quoted(key.name)} {_declared(key)} NOT NULL" for key in self.target.keys)
        return self._fill(_CREATE_METRICS, columns=columns)

    @cached_property
    def create_vector(self) -> str:
        """Add the column for the vectors."""
        return self._fill("ALTER TABLE {table} ADD COLUMN {filled} BLOB")

    def values(self, after: Key | None) -> str:
        """A page of rows: type and size of what is in the vector column, keys."""
        return self._fill(_VALUES, behind=self._behind(after))

    @cached_property
    def count_unknown(self) -> str:
        """Rows that cannot be told apart."""
        return self._fill("SELECT count(*) FROM {table} AS t WHERE {unknown}")

    @cached_property
    def sample(self) -> str:
        """Some contents."""
        return self._fill("SELECT {content} FROM {table} AS t WHERE {text} IS NOT NULL LIMIT :limit")

    # Rows that need a vector

    def standings(self, after: Key | None) -> str:
        """A page of rows: `Standing`, content, the mark's id, run and hash, keys."""
        return self._fill(_STANDINGS, behind=self._behind(after))

    def bare_standings(self, after: Key | None) -> str:
        """The same where no marks are known."""
        return self._fill(_BARE_STANDINGS, behind=self._behind(after))

    @cached_property
    def claim(self) -> str:
        """Claim a row by the mark that was seen."""
        return self._fill(_CLAIM)

    def claim_new(self, key: Key) -> str:
        """Claim a row that had no mark."""
        return self._fill(_CLAIM_NEW, given=self._given(key))

    @cached_property
    def holders(self) -> str:
        """The runs that hold rows."""
        return self._fill("SELECT DISTINCT m.run FROM {marks} AS m WHERE m.held AND m.run <> :run")

    @cached_property
    def give_back(self) -> str:
        """Give back what a dead run held."""
        return self._fill("UPDATE {marks} SET held = 0 WHERE held AND run = :run")

    @cached_property
    def held_elsewhere(self) -> str:
        """How many rows other runs hold."""
        return self._fill("SELECT count(*) FROM {marks} AS m WHERE m.held AND m.run <> :run")

    # Writing

    @cached_property
    def present(self) -> str:
        """What a row that this run holds contains now; the hash of what was claimed."""
        return self._fill(_PRESENT)

    @cached_property
    def fill(self) -> str:
        """Write a vector."""
        return self._fill(_FILL)

    @cached_property
    def settle(self) -> str:
        """Note that a row is done, or is to be claimed anew."""
        return self._fill(_SETTLE)

    @cached_property
    def measure_mark(self) -> str:
        """Write the metrics of a row by its mark."""
        return self._fill(_MEASURE_MARK)

    @cached_property
    def fail(self) -> str:
        """Put a failure on record."""
        return self._fill(_FAIL)

    def failures(self, after: Key | None) -> str:
        """A page of failures, in the order of their keys."""
        place = f"AND ({self._names['keys_of_marks']}) > ({self._given(after)})" if after else ""
        return self._fill(_FAILURES, behind=place)

    @cached_property
    def has_vectors(self) -> str:
        """Whether any row has a vector of a space."""
        return self._fill("SELECT EXISTS (SELECT 1 FROM {marks} AS m WHERE m.space = :space)")

    # The end

    @cached_property
    def textless(self) -> str:
        """A page of marks; of each whether its row is gone, or has no text any more."""
        return self._fill(_TEXTLESS)

    @cached_property
    def clear(self) -> str:
        """Take a vector whose text is NULL now."""
        return self._fill(_CLEAR)

    @cached_property
    def remove_mark(self) -> str:
        """Remove the mark of a row that is gone, or has no text any more."""
        return self._fill(_REMOVE_MARK)

    # Metrics

    def measured(self, after: Key | None) -> str:
        """A page of rows that have a text: content, the hash of what was measured, keys."""
        return self._fill(_MEASURED, behind=self._behind(after))

    def measure(self, key: Key) -> str:
        """Write the metrics of a row by its key."""
        return self._fill(_MEASURE, given=self._given(key))

    @cached_property
    def metrics_page(self) -> str:
        """A page of metrics: their number, and whether their row is gone or has no text any more."""
        return self._fill(_METRICS_PAGE)

    @cached_property
    def remove_metrics(self) -> str:
        """Remove the metrics of a row that is gone, or has no text any more."""
        return self._fill(_REMOVE_METRICS)

    @cached_property
    def count_texts(self) -> str:
        """Count how often each text stands in a page of metrics."""
        return self._fill(_COUNT_TEXTS)

    @cached_property
    def miscounted(self) -> str:
        """The metrics of a page whose frequency is another than what was counted."""
        return self._fill(_MISCOUNTED)

    @cached_property
    def write_frequency(self) -> str:
        """Write a frequency."""
        return self._fill("UPDATE {metrics} SET frequency = :frequency WHERE {rowid} = :number")


def _declared(key: KeyColumn) -> str:
    # "INTEGER" alone would make a primary key of whole numbers; a column of this affinity may hold other values too.
    kind = "INT" if key.affinity == "INTEGER" else key.affinity
    return f"{kind} COLLATE {quoted(key.collation)}"


CREATE_FREQUENCIES: Final = """
CREATE TEMP TABLE embedmill_frequencies (digest BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID
"""
DROP_FREQUENCIES: Final = "DROP TABLE IF EXISTS temp.embedmill_frequencies"

_CREATE_MARKS: Final = """
CREATE TABLE IF NOT EXISTS {marks} (
    id       INTEGER PRIMARY KEY,
    {columns},
    hash     BLOB    NOT NULL,            -- SHA-256 of the text that was claimed, embedded, or has failed
    space    TEXT,                        -- of the row's vector; NULL until it is written
    run      INTEGER NOT NULL,            -- that holds the row, or was the last to
    held     INTEGER NOT NULL,            -- as long as that run lives
    cause    TEXT,                        -- the kind of error of a row that has failed, else NULL
    message  TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,  -- at this text that have failed
    UNIQUE ({mark_keys})
)
"""
_CREATE_HELD: Final = "CREATE INDEX IF NOT EXISTS {held} ON {marks} (run) WHERE held"
_CREATE_FAILED: Final = "CREATE INDEX IF NOT EXISTS {failed} ON {marks} ({mark_keys}) WHERE cause IS NOT NULL"

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

_VALUES: Final = """
SELECT typeof({vector}), coalesce(length({vector}), 0), {table_keys}
FROM {table} AS t {by_key} WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

# The numbers are those of Standing.
_STANDINGS: Final = """
SELECT CASE WHEN {text} IS NULL THEN 0
            WHEN m.id IS NULL THEN CASE WHEN {vector} IS NULL THEN 4 ELSE 1 END
            WHEN m.held THEN 2
            WHEN m.cause IS NOT NULL THEN 3
            WHEN m.space IS NOT :space OR {vector} IS NULL THEN 4
            ELSE 5 END,
       {content}, m.id, m.run, m.hash, {table_keys}
FROM {table} AS t {by_key} LEFT JOIN {marks} AS m ON {table_is_mark}
WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_BARE_STANDINGS: Final = """
SELECT CASE WHEN {text} IS NULL THEN 0 WHEN {vector} IS NULL THEN 4 ELSE 1 END, NULL, NULL, NULL, NULL, {table_keys}
FROM {table} AS t {by_key} WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

# Only as the mark was seen: another run may have claimed the row since, and even have written it. What is known of a
# failure is kept, so that a text that kills its run is not tried again by the next.
_CLAIM: Final = """
UPDATE {marks} SET
    run = :run, held = 1, space = NULL,
    cause = CASE WHEN hash = :hash THEN cause END,
    message = CASE WHEN hash = :hash THEN message END,
    attempts = CASE WHEN hash = :hash THEN attempts ELSE 0 END,
    hash = :hash
WHERE id = :mark AND NOT held AND run = :seen_run AND hash = :seen_hash
"""

_CLAIM_NEW: Final = """
INSERT INTO {marks} ({mark_keys}, hash, run, held) VALUES ({given}, :hash, :run, 1) ON CONFLICT DO NOTHING
"""

_PRESENT: Final = """
SELECT {content}, m.hash FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark}
WHERE m.id = :mark AND m.held AND m.run = :run
"""

_FILL: Final = """
UPDATE {table} AS t SET {filled} = :vector
WHERE ({ordered}) = (SELECT {keys_of_marks} FROM {marks} AS m WHERE m.id = :mark)
"""

_SETTLE: Final = """
UPDATE {marks} SET held = 0, space = :space, cause = NULL, message = NULL, attempts = 0
WHERE id = :mark AND held AND run = :run
"""

_FAIL: Final = """
UPDATE {marks} SET held = 0, cause = :cause, message = :message, attempts = attempts + 1
WHERE id = :mark AND held AND run = :run
"""

_FAILURES: Final = """
SELECT m.cause, m.message, m.attempts, {keys_of_marks} FROM {marks} AS m INDEXED BY {failed}
WHERE m.cause IS NOT NULL {behind} ORDER BY {keys_of_marks} LIMIT :limit
"""

_TEXTLESS: Final = """
SELECT m.id, {text} IS NULL, m.space IS NOT NULL AND {vector} IS NOT NULL
FROM {marks} AS m LEFT JOIN {table} AS t ON {table_is_mark}
WHERE m.id > :after AND NOT m.held ORDER BY m.id LIMIT :limit
"""

_CLEAR: Final = """
UPDATE {table} AS t SET {filled} = NULL
WHERE ({ordered}) = (SELECT {keys_of_marks} FROM {marks} AS m WHERE m.id = :mark) AND {text} IS NULL
"""

_REMOVE_MARK: Final = """
DELETE FROM {marks} AS m WHERE m.id = :mark AND NOT m.held
AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {table_is_mark} AND {text} IS NOT NULL)
"""

_MEASURED: Final = """
SELECT {content}, m.text_hash, {table_keys}
FROM {table} AS t {by_key} LEFT JOIN {metrics} AS m ON {table_is_metrics}
WHERE {text} IS NOT NULL AND {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_NEW_METRICS: Final = """
ON CONFLICT ({keys}) DO UPDATE SET
    characters = excluded.characters, words = excluded.words, tokens = excluded.tokens,
    text_hash = excluded.text_hash, text_digest = excluded.text_digest
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

_METRICS_PAGE: Final = """
SELECT m.{rowid}, {text} IS NULL FROM {metrics} AS m LEFT JOIN {table} AS t ON {table_is_metrics}
WHERE m.{rowid} > :after ORDER BY m.{rowid} LIMIT :limit
"""

_REMOVE_METRICS: Final = """
DELETE FROM {metrics} AS m WHERE m.{rowid} = :number
AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {table_is_metrics} AND {text} IS NOT NULL)
"""

_COUNT_TEXTS: Final = """
INSERT INTO temp.embedmill_frequencies (digest, number)
SELECT m.text_digest, count(*) FROM {metrics} AS m WHERE m.{rowid} > :after AND m.{rowid} <= :last
GROUP BY m.text_digest
ON CONFLICT (digest) DO UPDATE SET number = number + excluded.number
"""

_MISCOUNTED: Final = """
SELECT m.{rowid}, f.number FROM {metrics} AS m JOIN temp.embedmill_frequencies AS f ON f.digest = m.text_digest
WHERE m.{rowid} > :after AND m.{rowid} <= :last AND m.frequency IS NOT f.number
"""
