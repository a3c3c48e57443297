"""The SQL of a run over a PostgreSQL table.

Other users' rows are locked only while their vector is written.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from psycopg import sql

from embedmill.runtime.computed import computed_once
from embedmill.storage.postgres.identifiers import Name
from embedmill.storage.postgres.table.sql_parts import SqlParts, filled


class Statements(SqlParts):
    """Of one table, its vectors and its marks."""

    def _names(self) -> dict[str, sql.Composable]:
        needed = sql.SQL(_NEEDED).format(vector=Name(self.spec.vector), hash=self._hash, living=_LIVING)
        kind = Name(self.spec.extension, self.spec.kind) if self.spec.vector else sql.SQL("bytea")
        more = {"needed": needed, "living": _LIVING, "same_table": _SAME_TABLE, "vector_type": kind}
        return super()._names() | more

    # What is known of the rows

    create_marks = filled("""
        CREATE TABLE IF NOT EXISTS {marks} (
            id       bigint  GENERATED ALWAYS AS IDENTITY UNIQUE,  -- what a staged vector names its row by
            {mark_columns},
            hash     bytea   NOT NULL,                -- SHA-256 of the text that was claimed, embedded, or has failed
            space    text,                            -- of the row's vector; NULL until it is written
            run      integer NOT NULL,                -- that holds the row, or was the last to
            held     boolean NOT NULL,                -- as long as that run lives
            cause    text,                            -- the kind of error of a row that has failed, else NULL
            message  text,
            attempts integer NOT NULL DEFAULT 0,      -- at this text that have failed
            print    bytea,                           -- what the vector that was written is known by
            PRIMARY KEY ({mark_keys})
        ) WITH (fillfactor = 50)  -- each row is updated once or twice, in place where there is room
    """)
    """The table of marks: a row for each row that has been claimed, embedded, or has failed."""

    def copy_marks(self, carried: sql.Composable) -> sql.Composed:
        """Put those in that a query gives."""
        return self._fill(_COPY_MARKS, carried=carried)

    print_all = filled("""
        UPDATE {marks} m SET print = {print} FROM {table} t
        WHERE {table_is_mark} AND m.space IS NOT NULL AND m.print IS DISTINCT FROM {print}
    """)
    """Take the prints of all vectors that were written, as they are now."""

    create_staging = filled("""
        CREATE TEMP TABLE embedmill_staging (
            mark bigint, vector {vector_type}, characters integer, words integer, tokens integer, digest bytea
        ) ON COMMIT DELETE ROWS
    """)
    """Where a connection puts what it is about to write; emptied by each commit."""

    # Rows that need a vector

    def claim(self, *, after: bool) -> sql.Composed:
        """Claim a page of the rows that need a vector, in the order of their keys; gives mark, size, text, keys."""
        return self._fill(_CLAIM, behind=self._behind(after))

    # What this run has done already counts as left: so it was when the run began.
    counts = filled("""
        SELECT count(t.{text}),
               count(*) FILTER (WHERE t.{text} IS NOT NULL
                                AND ({needed} OR m.run = %(run)s OR (m.held AND m.run = ANY ({living})))),
               count(*) FILTER (WHERE t.{text} IS NULL),
               count(*) FILTER (WHERE t.{text} IS NOT NULL AND m.id IS NULL AND t.{vector} IS NOT NULL
                                AND NOT {needed}),
               count(*) FILTER (WHERE m.cause IS NOT NULL AND m.run <> %(run)s AND NOT {needed}
                                AND NOT (m.held AND m.run = ANY ({living}))),
               count(*) FILTER (WHERE m.cause = %(empty)s AND m.run <> %(run)s AND NOT {needed}
                                AND NOT (m.held AND m.run = ANY ({living})))
        FROM {table} t LEFT JOIN {marks} m ON {table_is_mark}
    """)
    """Rows with text, those that need a vector, without text, with an unmanaged vector to keep, failed, empty."""

    @computed_once
    def count_rows(self) -> sql.Composed:
        """Rows with a text, rows without, rows with text and vector: where no run is known."""
        filled = self._fill("count(*) FILTER (WHERE {text} IS NOT NULL AND {vector} IS NOT NULL)")
        if not self.spec.vector or self.spec.missing:
            filled = self._fill("0")
        parts = [self._fill("SELECT count({text}), count(*) - count({text}),"), filled, self._fill("FROM {table}")]
        return sql.SQL(" ").join(parts)

    other_space = filled(
        "SELECT m.space FROM {marks} m JOIN {table} t ON {table_is_mark} "
        "WHERE m.space <> %(space)s AND t.{vector} IS NOT NULL LIMIT 1"
    )
    """The space of some row whose vector, which is there, is of another than the one given."""

    sample = filled("SELECT {content} FROM {table} t WHERE t.{text} IS NOT NULL ORDER BY {table_keys} LIMIT %(limit)s")
    """The first texts, in the order of their keys."""

    tracked = filled("""
        SELECT CASE WHEN char_length(t.{text}::text) <= %(longest)s THEN {content} END, t.{text} IS NOT NULL,
               t.{vector}::real[], m.id, coalesce(m.space = %(space)s, false), m.cause IS NOT NULL,
               coalesce(m.hash = {hash}, false), coalesce(m.print <> {print}, false), {keys_as_text}
        FROM {table} t LEFT JOIN {marks} m ON {table_is_mark}
        WHERE m.id IS NULL OR NOT (m.held AND m.run = ANY ({living}))
    """)
    """All rows that no living run holds: text, whether there is one, vector, and what is known of both; keys."""

    gone = filled("""
        SELECT m.id, {keys_of_marks_as_text} FROM {marks} m
        WHERE NOT (m.held AND m.run = ANY ({living})) AND NOT row_security_active(%(table_name)s)
        AND NOT EXISTS (SELECT FROM {table} t WHERE {table_is_mark})
    """)
    """The marks that nobody holds, and whose row is gone; where policies may hide rows nobody knows."""

    put_back = filled("""
        UPDATE {marks} m SET held = false, space = NULL, cause = NULL, message = NULL, attempts = 0
        WHERE m.id = ANY (%(ids)s::bigint[]) AND NOT (m.held AND m.run = ANY ({living}))
    """)
    """Forget that rows have vectors, or have failed, if nobody holds them."""

    # Marks are narrow: all of them are read, but only few of the table's rows.
    sample_rows = filled("""
        WITH chosen AS MATERIALIZED (
            SELECT * FROM {marks} m WHERE m.space = %(space)s ORDER BY random() LIMIT 4 * %(limit)s
        )
        SELECT {content}, t.{vector}::real[], {keys_as_text} FROM chosen m JOIN {table} t ON {table_is_mark}
        WHERE t.{vector} IS NOT NULL AND char_length(t.{text}::text) <= %(longest)s AND {hash} = m.hash LIMIT %(limit)s
    """)
    """Rows whose vector is of their present text, at random; gives text, vector, keys."""

    claimed_by_others = filled(
        "SELECT count(*) FROM {marks} m JOIN {table} t ON {table_is_mark} WHERE m.held AND m.run <> %(run)s "
        "AND (m.run = ANY ({living}) OR (t.{text} IS NOT NULL AND {needed}))"
    )
    """How many rows other runs have claimed, and not finished: living ones, or dead ones that left them to us."""

    # Writing

    def fill(self, *, measured: bool, skipping: bool = False, rewritten: bool = True) -> sql.Composed:
        """Write what is staged to table, metrics and marks, where the texts are still the same.

        `skipping` leaves out rows that others have locked; else they are waited for. `rewritten`: triggers may write
        another text meanwhile, which is looked for.
        """
        return self._fills[measured, skipping, rewritten]

    @computed_once
    def _fills(self) -> dict[tuple[bool, bool, bool], sql.Composed]:
        """Put together once: for each batch anew that would take as long as a tenth of its writing."""
        return {
            (measured, skipping, rewritten): sql.SQL("").join(
                [
                    self._fill(_FREE if skipping else _STAGED),
                    self._fill(_FILL, present=self._hash if rewritten else sql.SQL("m.hash")),
                    self._fill(_FILL_METRICS) if measured else sql.SQL(""),
                    self._fill(_FILLED),
                ]
            )
            for measured, skipping, rewritten in product((False, True), repeat=3)
        }

    held = filled("""
        SELECT id FROM {marks} WHERE id = ANY (%(ids)s::bigint[]) AND held AND run = %(run)s
    """)
    """Which of these marks this run still holds."""

    def unchanged(self, *, skipping: bool = False) -> sql.Composed:
        """Rows that are held still, though their texts are the same; `skipping` locks them, and leaves out the rest."""
        return self._fill(_UNCHANGED + (_SKIPPING if skipping else ""))

    def to_clear(self, *, skipping: bool = False) -> sql.Composed:
        """Rows whose vector `clear` would take; `skipping` locks them, and leaves out those that others have locked."""
        return self._fill(_TO_CLEAR + (_SKIPPING if skipping else ""))

    count_rewritten = filled(
        "SELECT count(*) FROM {marks} m JOIN {table} t ON {table_is_mark} "
        "WHERE m.id = ANY (%(ids)s::bigint[]) AND m.space IS NOT NULL "
        "AND {hash} IS DISTINCT FROM m.hash"
    )
    """Rows that have another text than the one whose vector was written: triggers may have changed it."""

    give_back = filled("UPDATE {marks} SET held = false WHERE held AND run = %(run)s AND id <> ALL (%(kept)s)")
    """Give up what is held but not among these marks."""

    release = filled("""
        UPDATE {marks} SET held = false WHERE id = ANY (%(ids)s::bigint[]) AND held AND run = %(run)s
    """)
    """Give up rows that are held still."""

    fail = filled("""
        UPDATE {marks} m SET held = false, cause = f.cause, message = f.message, attempts = m.attempts + 1
        FROM unnest(%(marks)s::bigint[], %(causes)s::text[], %(messages)s::text[]) AS f (id, cause, message)
        WHERE m.id = f.id AND m.held AND m.run = %(run)s AND m.id <> ALL (%(locked)s::bigint[])
    """)
    """Put failures on record."""

    clear = filled("""
        UPDATE {table} t SET {vector} = NULL FROM {marks} m
        WHERE {table_is_mark} AND {same_table} AND t.{vector} IS NOT NULL AND m.id = ANY (%(marks)s::bigint[])
        AND (t.{text} IS NULL OR (m.held AND m.run = %(run)s))
    """)
    """Take the vectors of rows that have no text, or that this run holds."""

    textless = filled("""
        SELECT m.id FROM {marks} m JOIN {table} t ON {table_is_mark}
        WHERE t.{text} IS NULL AND t.{vector} IS NOT NULL AND NOT (m.held AND m.run = ANY ({living}))
    """)
    """The marks of rows that nobody holds, and that have a vector though their text is NULL."""

    remove_marks = filled("""
        DELETE FROM {marks} m
        WHERE m.id <> ALL (%(locked)s::bigint[]) AND NOT (m.held AND m.run = ANY ({living}))
        AND {same_table} AND NOT EXISTS (SELECT FROM {table} t WHERE {table_is_mark} AND t.{text} IS NOT NULL)
        AND (NOT row_security_active(%(table_name)s) OR EXISTS (SELECT FROM {table} t WHERE {table_is_mark}))
    """)
    """Remove the marks of rows that are gone, or have no text any more; not of those that a policy may hide."""

    failures = filled(
        "SELECT m.cause, m.message, m.attempts, {keys_of_marks_as_text} FROM {marks} m "
        "WHERE m.cause IS NOT NULL ORDER BY {keys_of_marks}"
    )
    """All failures, in the order of their keys."""


def alone(claim: sql.Composed) -> sql.Composed:
    """A claim as a transaction to be executed at once; gives the results of BEGIN, a lock, the claim, and COMMIT.

    One claim after another: two runs would claim the same page, and one of them get nothing.
    """
    lock = sql.SQL("BEGIN; SELECT pg_advisory_xact_lock((%(lock)s::bigint << 32) + %(table)s);")
    return sql.SQL("").join([lock, claim, sql.SQL("; COMMIT")])


# The numbers of the runs that live: each holds an advisory lock, which the server releases when its connection ends.
_LIVING: Final = sql.SQL("""
    ARRAY(SELECT l.objid::bigint::integer FROM pg_catalog.pg_locks l
          WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = %(lock)s
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
""")

# Whether the names of table and column still mean what they did when the run began: both may be swapped by renaming.
_SAME_TABLE: Final = sql.SQL("""
    (to_regclass(%(table_name)s)::oid = %(relation)s::oid AND EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = %(relation)s::oid AND attname = %(column)s AND attnum = %(number)s
    ))
""")

_COPY_MARKS: Final = """
INSERT INTO {marks} ({mark_keys}, hash, space, run, held, cause, message, attempts, print)
SELECT {keys_of_marks}, m.hash, m.space, m.run, m.held, m.cause, m.message, m.attempts, m.print FROM {carried} m
"""

# Whether row t, with mark m, needs a vector. A row that has one and no mark was filled by somebody else. A failure
# is tried again when its text changes, or once by a run that is told to. What a run that began after this one has
# written with another model stays: else each would take the other's rows for as long as both live. An overwriting
# redoes what was written before it began, be it by another run that has shared it, or did not come to its end.
_NEEDED: Final = """
    CASE
        WHEN m.id IS NULL THEN t.{vector} IS NULL OR %(overwrite)s
        WHEN m.held AND m.run = ANY ({living}) THEN false
        WHEN m.cause IS NOT NULL THEN m.hash <> {hash} OR (%(again)s AND m.run <> %(run)s)
        WHEN m.space <> %(space)s AND %(run)s BETWEEN 1 AND m.run - 1 THEN false
        ELSE m.space IS DISTINCT FROM %(space)s OR t.{vector} IS NULL OR m.hash <> {hash} OR m.run < %(redone_from)s
    END
"""

# A claimed row counts as one without a vector until the new one is written; what is known of a failure is kept, so
# that a text that kills its run is not tried again by the next.
_CLAIM: Final = """
WITH page AS MATERIALIZED (
    SELECT {table_as_marks}, char_length(t.{text}::text) AS size, {hash} AS hash,
           CASE WHEN char_length(t.{text}::text) <= %(longest)s THEN {content} END AS text
    FROM {table} t LEFT JOIN {marks} m ON {table_is_mark}
    WHERE t.{text} IS NOT NULL AND {same_table} AND {needed}
    {behind}
    ORDER BY {table_keys} LIMIT %(limit)s
), claimed AS (
    INSERT INTO {marks} AS m ({mark_keys}, hash, run, held)
    SELECT {page_keys}, p.hash, %(run)s, true FROM page p
    ON CONFLICT ({mark_keys}) DO UPDATE SET
        hash = excluded.hash, run = excluded.run, held = true, space = NULL,
        cause = CASE WHEN m.hash = excluded.hash THEN m.cause END,
        message = CASE WHEN m.hash = excluded.hash THEN m.message END,
        attempts = CASE WHEN m.hash = excluded.hash THEN m.attempts ELSE 0 END
    RETURNING m.id, {keys_of_marks}
)
SELECT c.id, p.size, p.text, {page_keys_as_text} FROM page p JOIN claimed c ON {claimed_is_page} ORDER BY {page_keys}
"""

# The hash is looked at again: a row whose text has changed since it was claimed keeps what it has, and is claimed anew.
# Each row of marks and table is found through its index, from the rows that are staged: OFFSET keeps the planner from
# turning that round, which it would, since it knows nothing of a temporary table. RETURNING hands on what the rest
# needs.
_STAGED: Final = """
WITH staged AS NOT MATERIALIZED (
    SELECT s.*, m.id, m.hash, {keys_of_marks}
    FROM {staging} s
    CROSS JOIN LATERAL (SELECT * FROM {marks} WHERE id = s.mark AND held AND run = %(run)s OFFSET 0) m
    OFFSET 0
)
"""

# As they are updated they would be waited for, however many others of the batch wait with them.
_FREE: Final = """
WITH known AS MATERIALIZED (
    SELECT s.*, m.id, m.hash, {keys_of_marks}
    FROM {staging} s
    CROSS JOIN LATERAL (SELECT * FROM {marks} WHERE id = s.mark AND held AND run = %(run)s OFFSET 0) m
    OFFSET 0
), staged AS MATERIALIZED (
    SELECT m.* FROM known m JOIN {table} t ON {table_is_mark} FOR NO KEY UPDATE OF t SKIP LOCKED
)
"""

_FILL: Final = """
, fresh AS (
    UPDATE {table} t SET {vector} = m.vector
    FROM staged m
    WHERE {table_is_mark} AND {hash} = m.hash AND {same_table}
    RETURNING m.id, {keys_of_marks}, m.hash, m.characters, m.words, m.tokens, m.digest,
              t.{vector} IS NOT NULL AS filled,
              {present} AS present, {print} AS print
)
"""

_FILL_METRICS: Final = """
, counted AS (
    INSERT INTO {metrics} ({keys}, characters, words, tokens, text_hash, text_digest)
    SELECT {mark_keys}, characters, words, tokens, hash, digest FROM fresh
    ON CONFLICT ({keys}) DO UPDATE SET
        characters = excluded.characters, words = excluded.words, tokens = excluded.tokens,
        text_hash = excluded.text_hash, text_digest = excluded.text_digest
)
"""

# A trigger may have taken the vector away again, or have written another text: such a row is not done.
_FILLED: Final = """
UPDATE {marks} m SET held = false, space = %(space)s, cause = NULL, message = NULL, attempts = 0, print = f.print
FROM fresh f WHERE m.id = f.id AND f.filled AND f.present = f.hash AND m.held AND m.run = %(run)s
"""

_UNCHANGED: Final = """
SELECT m.id FROM {marks} m JOIN {table} t ON {table_is_mark}
WHERE m.id = ANY (%(ids)s::bigint[]) AND m.held AND m.run = %(run)s AND {hash} = m.hash
"""

_SKIPPING: Final = "FOR NO KEY UPDATE OF t SKIP LOCKED"

_TO_CLEAR: Final = """
SELECT m.id FROM {marks} m JOIN {table} t ON {table_is_mark}
WHERE m.id = ANY (%(marks)s::bigint[]) AND t.{vector} IS NOT NULL
AND (t.{text} IS NULL OR (m.held AND m.run = %(run)s))
"""
