"""What is known of a table's rows where it cannot be told by their keys: it is carried over from older marks.

A row is known again by its vector, whose print its mark has, whatever has become of its key and of the table's name.
Rows that have failed have none: they are known by key and text. It is put together in tables of this connection alone,
so that the file is locked for no longer than it takes to copy them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from embedmill.core.rows import Key
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.columns import quoted
from embedmill.storage.sqlite.table.contents import digest, print_of
from embedmill.storage.sqlite.table.database import Database, key_of
from embedmill.storage.sqlite.table.identity import marks
from embedmill.storage.sqlite.table.rows import CarriedRow
from embedmill.storage.sqlite.table.sql_parts import bound, damaged
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.sqlite.table.table_spec import TableSpec, column_names

CARRIED: Final = "embedmill_carried"
"""The marks that fit the rows: a temporary table."""

_OLDER: Final = """
CREATE TEMP TABLE embedmill_older AS
SELECT {plain} AS plain, m.id, m.hash, m.space, m.run, m.cause, m.message, m.attempts, {print} FROM {older} AS m
"""

_COLUMNS: Final = "hash, space, run, cause, message, attempts, print"


def carry(database: Database, spec: TableSpec, found: CatalogEntry) -> None:
    """Put into `CARRIED` what the entry's marks tell of the spec's rows."""
    older = marks(found.id)
    with database.reading() as db:
        columns, there = column_names(db, spec.name), column_names(db, older)
        names = [name for name in there if name.startswith("key")]
        plain = _plain([f"m.{name}" for name in names])
        print_ = "m.print" if "print" in there else "NULL AS print"
        for statement in (
            "DROP TABLE IF EXISTS temp.embedmill_older",
            f"DROP TABLE IF EXISTS temp.{CARRIED}",
            _OLDER.format(plain=plain, print=print_, older=older),
            "CREATE INDEX temp.embedmill_older_prints ON embedmill_older (print)",
            "CREATE INDEX temp.embedmill_older_keys ON embedmill_older (plain)",
            *Statements(spec, CARRIED, "").create_marks(temporary=True),
        ):
            db.execute(statement)
    keys = found.keys if {*found.keys} <= {*columns} and len(found.keys) == len(names) else []
    # An older version has not noted what would tell: most likely the key has only been renamed.
    guessed = not keys and not found.prints and len(spec.keys) == len(names)
    keys = list(spec.key_names) if guessed else keys
    statements = Statements(spec, CARRIED, "")
    key = _plain([f"t.{quoted(name)}" for name in keys]) if keys else "NULL"
    for page in database.pages(lambda after: statements.carried(key, after), None, CarriedRow):
        for row in page:
            mark = _mark(database, row, by_key=bool(keys), by_text=guessed or not keys)
            if mark is not None:
                with database.reading() as db:
                    db.execute(statements.carry(key_of(row)), {**mark, **bound(key_of(row))})


def has_same_text(database: Database, spec: TableSpec, found: CatalogEntry, key: Key, present: bytes) -> bool:
    """Whether the row of this key, among the entry's own rows, had a vector of the text that it has at present.

    `present` is that text's hash. To be asked once the marks have been carried over.
    """
    if list(spec.key_names) != found.keys:
        return False
    plain = _plain([f":key{number}" for number in range(1, len(key) + 1)])
    query = (
        f"SELECT 1 FROM temp.embedmill_older WHERE plain = {plain} AND hash = :hash "  # noqa: S608
        "AND cause IS NULL AND space IS NOT NULL LIMIT 1"
    )
    return bool(database.fetch(query, {**bound(key), "hash": present}))


def _plain(names: Sequence[str]) -> str:
    """A key as one text, whatever its type."""
    return " || char(31) || ".join(f"CAST({name} AS TEXT)" for name in names)


def _mark(database: Database, row: CarriedRow, *, by_key: bool, by_text: bool) -> dict[str, Any] | None:
    """The mark of a row; of several that of its present text."""
    content, vector, key = row.content, row.vector, row.older_key
    found: list[dict[str, Any]] = []
    present = None if content is None else digest(content)
    names = _COLUMNS.split(", ")

    def look(condition: str, **values: Any) -> None:
        query = f"SELECT {_COLUMNS} FROM temp.embedmill_older WHERE {condition} ORDER BY id LIMIT 100"  # noqa: S608
        found.extend(dict(zip(names, mark, strict=True)) for mark in database.fetch(query, values))

    if isinstance(vector, bytes):
        look("print = :print", print=print_of(vector))
    if by_key and key is not None and not damaged(key):
        look("plain = :key AND cause IS NOT NULL AND hash = :hash", key=key, hash=present)
        if vector is not None:
            look("plain = :key AND cause IS NULL AND print IS NULL", key=key)
    if by_text:
        look(
            "hash = :hash AND (cause IS NOT NULL OR (print IS NULL AND :filled))",
            hash=present,
            filled=vector is not None,
        )
    return min(found, key=lambda mark: (mark["hash"] != present, mark["cause"] is not None), default=None)
