"""What is known of a table's rows where it cannot be told by their keys: it is carried over from older marks.

A row is known again by its vector, whose print its mark has, whatever has become of its key and of the table's name.
Rows that have failed have none: they are known by key and text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.identifiers import Name, plain
from embedmill.storage.postgres.table.sql_parts import SqlParts, filled
from embedmill.storage.postgres.table.table_spec import TableSpec


class Carrying(SqlParts):
    """The marks of one table's rows, as older marks tell of them; `marks` are the older ones."""

    def carried(self, keys: Sequence[str] | None, *, prints: bool, guessed: bool = False) -> sql.Composed:
        """A query for them: all columns of marks, and none held.

        `keys` are the columns that the older marks' keys were read from, or None where these are gone. Where they are
        `guessed` rows are known by their text as well. Without `prints` the older marks have none, and rows are known
        by key or text alone.
        """
        same = sql.SQL(" AND ").join(
            sql.SQL("t.{}::text = m.{}::text").format(Name(name), Name(f"key{number}"))
            for number, name in enumerate(keys or [], 1)
        )
        mark_print = sql.SQL("m.print" if prints else "NULL::bytea")
        ways = [same] * bool(keys) + [self._fill("m.hash = {hash}")] * (guessed or not keys)
        others = [self._fill(_OTHERWISE, known=way, mark_print=mark_print) for way in ways]
        return self._fill(_CARRIED, mark_print=mark_print, others=sql.SQL("").join(others))

    # Of vectors and marks a hundred will do: equal prints mean equal vectors.
    prints = filled("SELECT {print} FROM {table} t WHERE t.{vector} IS NOT NULL LIMIT 100")
    """The prints of some of the table's vectors."""

    known = filled("SELECT count(*) FROM {marks} m WHERE m.print = ANY (%(prints)s)")
    """How many of these prints the marks have."""

    known_texts = filled("""
        WITH texts AS (
            SELECT DISTINCT r.hash
            FROM (SELECT {hash} AS hash FROM {table} t
                  WHERE t.{vector} IS NOT NULL AND t.{text} IS NOT NULL LIMIT 100) r
        )
        SELECT (SELECT count(*) FROM texts),
               (SELECT count(DISTINCT m.hash) FROM {marks} m
                WHERE m.cause IS NULL AND m.hash = ANY (ARRAY(SELECT hash FROM texts)))
    """)
    """Of the texts of some rows with a vector: how many there are, and how many of them the marks have."""

    def fitting(self, *, at_random: bool) -> sql.Composed:
        """Of some marks whose rows are found by their keys: how many there are, how many of the very vector.

        `at_random`, or of the marks that are read first: for what is asked at the beginning of every run.
        """
        return self._fill(_FITTING, order=sql.SQL("ORDER BY random()" if at_random else ""))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a table's vectors say of whose they are."""

    spec: TableSpec
    marks: Callable[[int], sql.Identifier]  # an entry's marks, by its number

    def matches(self, connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
        """How many of some of the table's vectors were written for each of these entries."""
        there = [number for number in numbers if self._is_there(connection, number)]
        if not there or not self.spec.vector or self.spec.missing:
            return {}
        prints = connection.scalars(self._of(there[0]).prints, {})
        if not prints:
            return {}
        return {number: connection.scalar(self._of(number).known, {"prints": prints}) for number in there}

    def fits(self, connection: Connection, number: int) -> bool:
        """Whether the marks are those of the rows that have their keys, as far as some of them tell."""
        ((found, same),) = connection.execute(self._of(number).fitting(at_random=True), {})
        return bool(found and found == same)

    def has_texts(self, connection: Connection, number: int) -> bool:
        """Whether most of the table's texts were embedded for this entry, as far as some of them tell."""
        if not self.spec.text or self.spec.missing or not self._is_there(connection, number):
            return False
        ((found, same),) = connection.execute(self._of(number).known_texts, {})
        return bool(same and 2 * same >= found)

    def is_replaced(self, connection: Connection, number: int) -> bool:
        """Whether the rows of its marks have other vectors, as far as some of them tell."""
        if self.spec.missing or not self._is_there(connection, number):
            return False
        ((found, same),) = connection.execute(self._of(number).fitting(at_random=False), {})
        return bool(found and not same)

    def _of(self, number: int) -> Carrying:
        return Carrying(self.spec, self.marks(number))

    def _is_there(self, connection: Connection, number: int) -> bool:
        query = """
            SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(marks)s) AND attname = 'print')
            AND has_table_privilege(to_regclass(%(marks)s), 'SELECT')"""  # of other tables they may be other users'
        return bool(connection.scalar(query, {"marks": plain(self.marks(number))}))


# A row may be found in several ways: the mark of its present text says most.
_CARRIED: Final = """
SELECT DISTINCT ON ({mark_keys}) {mark_keys}, id, hash, space, run, false AS held, cause, message, attempts, print
FROM (
    SELECT {table_as_marks}, m.id, m.hash, m.space, m.run, m.cause, m.message, m.attempts, {mark_print} AS print,
           m.hash = {hash} AS same
    FROM {table} t JOIN {marks} m ON {mark_print} = {print}
    {others}
) c
ORDER BY {mark_keys}, same DESC NULLS LAST, cause IS NULL DESC, id
"""

_OTHERWISE: Final = """
    UNION ALL
    SELECT {table_as_marks}, m.id, m.hash, m.space, m.run, m.cause, m.message, m.attempts, {mark_print},
           m.hash = {hash}
    FROM {table} t JOIN {marks} m ON {known}
    WHERE CASE WHEN m.cause IS NOT NULL THEN m.hash = {hash}
               ELSE {mark_print} IS NULL AND t.{vector} IS NOT NULL END
"""

_FITTING: Final = """
SELECT count(*), count(*) FILTER (WHERE m.print = {print})
FROM (SELECT * FROM {marks} WHERE print IS NOT NULL {order} LIMIT 100) m
JOIN {table} t ON {table_is_mark} WHERE t.{vector} IS NOT NULL
"""
