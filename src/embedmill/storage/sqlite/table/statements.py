"""The SQL of a run over an SQLite table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from embedmill.core.rows import Key
from embedmill.storage.sqlite.table.rows import RowState
from embedmill.storage.sqlite.table.sql_parts import SqlParts, declared, filled

_STATES: Final = {state.name: str(int(state)) for state in RowState}


class Statements(SqlParts):
    """Of one table, its vectors and its marks."""

    # What is known of the rows

    def create_marks(self, *, temporary: bool = False) -> list[str]:
        """The table of marks: a row for each row that has been claimed, embedded, or has failed."""
        columns = ", ".join(f"key{number} {declared(key)} NOT NULL" for number, key in enumerate(self.spec.keys, 1))
        schema = "temp" if temporary else "main"
        return [
            self.fill(each, columns=columns, schema=schema) for each in (_CREATE_MARKS, _CREATE_HELD, _CREATE_FAILED)
        ]

    def carried(self, key: str, after: Key | None) -> str:
        """A page of `CarriedRow`; `key` is the expression that gives the older key."""
        return self.fill(_CARRIED, key=key, behind=self.behind(after))

    def carry(self, key: Key) -> str:
        """Put a mark in, of a row that nobody holds."""
        return self.fill(_CARRY, given=self.given(key))

    unprinted = filled("""
        SELECT m.id, {vector} FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark}
        WHERE m.id > :after AND m.space IS NOT NULL AND m.print IS NULL ORDER BY m.id LIMIT :limit
    """)
    """A page of marks whose vectors were written without a print: their ids, and the vectors."""

    def some_prints(self, *, at_random: bool) -> str:
        """Of some marks the vectors of the rows that have their keys, and the prints of those that were written.

        Those that are read first, if not at random: for what is asked at the beginning of every run.
        """
        return self.fill(_SOME_PRINTS, chosen="ORDER BY random()" if at_random else "")

    create_vector = filled("ALTER TABLE {table} ADD COLUMN {filled} BLOB")
    """Add the column for the vectors."""

    def values(self, after: Key | None) -> str:
        """A page of `ValueRow`."""
        return self.fill(_VALUES, behind=self.behind(after))

    count_unknown = filled("SELECT count(*) FROM {table} AS t WHERE {unknown}")
    """Rows that cannot be told apart."""

    # Marks are narrow: all of them are read, but only few of the table's rows.
    sample_rows = filled("""
        SELECT {content}, m.hash, {vector}, {table_keys}
        FROM (SELECT id FROM {marks} WHERE space = :space ORDER BY random() LIMIT :limit) AS chosen
        CROSS JOIN {marks} AS m ON m.id = chosen.id CROSS JOIN {table} AS t ON {table_is_mark}
        WHERE {text} IS NOT NULL AND typeof({vector}) = 'blob'
    """)
    """`SampledRow`, at random."""

    sample = filled("""
        SELECT {content} FROM {table} AS t {by_key} WHERE {text} IS NOT NULL AND {known} ORDER BY {ordered} LIMIT :limit
    """)
    """The first contents, in the order of their keys."""

    # Whether all is well

    def tracked(self, after: Key | None, dead: Iterable[int]) -> str:
        """A page of `TrackedRowContents`; what the `dead` runs held nobody holds."""
        return self.fill(_TRACKED, behind=self.behind(after), dead=_list(dead))

    def gone(self, dead: Iterable[int]) -> str:
        """A page of the marks that nobody holds, and whose row is gone: id and key."""
        return self.fill(_GONE, dead=_list(dead))

    def put_back(self, dead: Iterable[int]) -> str:
        """Forget that a row has a vector, or has failed, if nobody holds it."""
        return self.fill(_PUT_BACK, dead=_list(dead))

    take_vector = filled("""
        UPDATE {table} AS t SET {filled} = NULL
        WHERE ({ordered}) = (SELECT {keys_of_marks} FROM {marks} AS m WHERE m.id = :mark AND m.space IS NULL)
    """)
    """Take what a row that was put back has in the place of a vector."""

    # Rows that need a vector

    def standings(self, after: Key | None, dead: Iterable[int]) -> str:
        """A page of `Standing`.

        What the `dead` runs held is anybody's; a run that is not known to be dead may have begun just now.
        """
        return self.fill(_STANDING + _STANDINGS, behind=self.behind(after), dead=_list(dead), **_STATES)

    def left_behind(self, dead: Iterable[int]) -> str:
        """`Standing` of rows that dead runs held."""
        return self.fill(_STANDING + _LEFT_BEHIND, dead=_list(dead), **_STATES)

    def bare_standings(self, after: Key | None) -> str:
        """A page of `Standing` where no marks are known."""
        return self.fill(_BARE_STANDINGS, behind=self.behind(after), **_STATES)

    # Only as the mark was seen: another run may have claimed the row since, and even have written it. What is known of
    # a failure is kept, so that a text that kills its run is not tried again by the next.
    claim = filled("""
        UPDATE {marks} SET
            run = :run, held = 1, space = NULL,
            cause = CASE WHEN hash = :hash THEN cause END,
            message = CASE WHEN hash = :hash THEN message END,
            attempts = CASE WHEN hash = :hash THEN attempts ELSE 0 END,
            hash = :hash
        WHERE id = :mark AND held = :seen_held AND run = :seen_run AND hash = :seen_hash
    """)
    """Claim a row by the mark that was seen."""

    def claim_new(self, key: Key) -> str:
        """Claim a row that had no mark."""
        return self.fill(_CLAIM_NEW, given=self.given(key))

    holders = filled("SELECT DISTINCT m.run FROM {marks} AS m WHERE m.held AND m.run <> :run")
    """The other runs that hold rows, or did when they died."""

    def claimed_by_others(self, dead: Iterable[int]) -> str:
        """How many rows other living runs hold."""
        return self.fill(_CLAIMED_BY_OTHERS, dead=_list(dead))

    # Writing

    present = filled("""
        SELECT {content}, m.hash FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark}
        WHERE m.id = :mark AND m.held AND m.run = :run
    """)
    """What a row that this run holds contains now; the hash of what was claimed."""

    fill_vector = filled("""
        UPDATE {table} AS t SET {filled} = :vector
        WHERE ({ordered}) = (SELECT {keys_of_marks} FROM {marks} AS m WHERE m.id = :mark)
    """)
    """Write a vector."""

    stored = filled("""
        SELECT {content}, {vector} FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark} WHERE m.id = :mark
    """)
    """What a row contains, and its vector."""

    settle = filled("""
        UPDATE {marks} SET held = 0, space = :space, cause = NULL, message = NULL, attempts = 0, print = :print
        WHERE id = :mark AND held AND run = :run
    """)
    """Note that a row is done."""

    release = filled("UPDATE {marks} SET held = 0 WHERE id = :mark AND held AND run = :run")
    """Give a row back whose text has changed since it was claimed: it is claimed anew."""

    fail = filled("""
        UPDATE {marks} SET held = 0, cause = :cause, message = :message, attempts = attempts + 1
        WHERE id = :mark AND held AND run = :run
    """)
    """Put a failure on record."""

    def failures(self, after: Key | None) -> str:
        """A page of `FailureRow`, in the order of their keys."""
        place = f"AND ({self.names['keys_of_marks']}) > ({self.given(after)})" if after else ""
        return self.fill(_FAILURES, behind=place)

    other_space = filled(
        "SELECT m.space FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark} "
        "WHERE m.space <> :space AND {vector} IS NOT NULL LIMIT 1"
    )
    """The space of some row whose vector, which is there, is of another than the one given."""

    # The end

    def textless(self, dead: Iterable[int]) -> str:
        """A page of marks that nobody holds; of each whether its row is gone, or has no text any more."""
        return self.fill(_TEXTLESS, dead=_list(dead))

    clear = filled("""
        UPDATE {table} AS t SET {filled} = NULL
        WHERE ({ordered}) = (SELECT {keys_of_marks} FROM {marks} AS m WHERE m.id = :mark) AND {vector} IS NOT NULL
        AND ({text} IS NULL OR EXISTS (SELECT 1 FROM {marks} AS m WHERE m.id = :mark AND m.held AND m.run = :run))
    """)
    """Take the vector of a row that has no text, or that this run holds."""

    def remove_mark(self, dead: Iterable[int]) -> str:
        """Remove the mark of a row that is gone, or has no text any more, if still nobody holds it."""
        return self.fill(_REMOVE_MARK, dead=_list(dead))


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


_CREATE_MARKS: Final = """
CREATE TABLE IF NOT EXISTS {schema}.{marks} (
    id       INTEGER PRIMARY KEY,
    {columns},
    hash     BLOB    NOT NULL,            -- SHA-256 of the text that was claimed, embedded, or has failed
    space    TEXT,                        -- of the row's vector; NULL until it is written
    run      INTEGER NOT NULL,            -- that holds the row, or was the last to
    held     INTEGER NOT NULL,            -- as long as that run lives
    cause    TEXT,                        -- the kind of error of a row that has failed, else NULL
    message  TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,  -- at this text that have failed
    print    BLOB,                        -- what the vector that was written is known by
    UNIQUE ({mark_keys})
)
"""
_CREATE_HELD: Final = "CREATE INDEX IF NOT EXISTS {schema}.{held} ON {marks} (run) WHERE held"
_CREATE_FAILED: Final = "CREATE INDEX IF NOT EXISTS {schema}.{failed} ON {marks} ({mark_keys}) WHERE cause IS NOT NULL"

_CARRIED: Final = """
SELECT {content}, {vector}, {key}, {table_keys}
FROM {table} AS t {by_key} WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_CARRY: Final = """
INSERT INTO {marks} ({mark_keys}, hash, space, run, held, cause, message, attempts, print)
VALUES ({given}, :hash, :space, :run, 0, :cause, :message, :attempts, :print) ON CONFLICT DO NOTHING
"""

_SOME_PRINTS: Final = """
SELECT {vector}, m.print
FROM (SELECT id FROM {marks} WHERE print IS NOT NULL {chosen} LIMIT :limit) AS chosen
CROSS JOIN {marks} AS m ON m.id = chosen.id CROSS JOIN {table} AS t ON {table_is_mark}
WHERE typeof({vector}) = 'blob'
"""

_VALUES: Final = """
SELECT typeof({vector}), coalesce(length({vector}), 0), {table_keys}
FROM {table} AS t {by_key} WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_STANDING: Final = """
SELECT CASE WHEN {text} IS NULL THEN {WITHOUT_TEXT}
            WHEN m.id IS NULL THEN CASE WHEN {vector} IS NULL THEN {DUE} ELSE {UNMANAGED} END
            WHEN m.held AND m.run NOT IN ({dead}) THEN {HELD}
            WHEN m.cause IS NOT NULL THEN {FAILED}
            WHEN m.space <> :space AND :run BETWEEN 1 AND m.run - 1 THEN {SUPERSEDED}
            WHEN m.space IS NOT :space OR {vector} IS NULL THEN {DUE}
            ELSE {WRITTEN} END,
       {content}, m.id, CAST(m.run AS INTEGER), m.held, m.hash, m.cause, {table_keys}
"""

_STANDINGS: Final = """
FROM {table} AS t {by_key} LEFT JOIN {marks} AS m ON {table_is_mark}
WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_LEFT_BEHIND: Final = """
FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark}
WHERE m.held AND m.run <> :run AND m.run IN ({dead}) LIMIT :limit
"""

_TRACKED: Final = """
SELECT {content}, {vector}, typeof({vector}), m.id, m.held AND m.run NOT IN ({dead}), m.space = :space,
       m.cause IS NOT NULL, m.hash, m.print, {table_keys}
FROM {table} AS t {by_key} LEFT JOIN {marks} AS m ON {table_is_mark}
WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_GONE: Final = """
SELECT m.id, {keys_of_marks} FROM {marks} AS m
WHERE m.id > :after AND NOT (m.held AND m.run NOT IN ({dead}))
AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {table_is_mark})
ORDER BY m.id LIMIT :limit
"""

_PUT_BACK: Final = """
UPDATE {marks} AS m SET held = 0, space = NULL, cause = NULL, message = NULL, attempts = 0
WHERE m.id = :mark AND NOT (m.held AND m.run NOT IN ({dead}))
"""

_CLAIMED_BY_OTHERS: Final = """
SELECT count(*) FROM {marks} AS m CROSS JOIN {table} AS t ON {table_is_mark}
WHERE m.held AND m.run <> :run AND m.run NOT IN ({dead})
"""

_BARE_STANDINGS: Final = """
SELECT CASE WHEN {text} IS NULL THEN {WITHOUT_TEXT} WHEN {vector} IS NULL THEN {DUE} ELSE {UNMANAGED} END,
       NULL, NULL, NULL, NULL, NULL, NULL, {table_keys}
FROM {table} AS t {by_key} WHERE {known} {behind} ORDER BY {ordered} LIMIT :limit
"""

_CLAIM_NEW: Final = """
INSERT INTO {marks} ({mark_keys}, hash, run, held) VALUES ({given}, :hash, :run, 1) ON CONFLICT DO NOTHING
"""

_FAILURES: Final = """
SELECT m.cause, m.message, m.attempts, {keys_of_marks} FROM {marks} AS m INDEXED BY {failed}
WHERE m.cause IS NOT NULL {behind} ORDER BY {keys_of_marks} LIMIT :limit
"""

_TEXTLESS: Final = """
SELECT m.id, {text} IS NULL
FROM {marks} AS m LEFT JOIN {table} AS t ON {table_is_mark}
WHERE m.id > :after AND NOT (m.held AND m.run NOT IN ({dead})) ORDER BY m.id LIMIT :limit
"""

_REMOVE_MARK: Final = """
DELETE FROM {marks} AS m WHERE m.id = :mark AND NOT (m.held AND m.run NOT IN ({dead}))
AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {table_is_mark} AND {text} IS NOT NULL)
"""
