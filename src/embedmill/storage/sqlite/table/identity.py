"""Which entry of the catalog an SQLite table has, whatever its name and its columns' have become.

SQLite gives a table no number that lasts: the page at which it begins is another after a VACUUM, and may be that of
another table. As long as the database's schema is the same as after the last run, names are right. Else a table is
known by its vectors: each mark has the print of the one that was written for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from embedmill.core.errors import StoreError
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.columns import quoted
from embedmill.storage.sqlite.table.contents import digest, print_of
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.sqlite.table.table_spec import TableSpec, column_names, may_hold_vectors

_SAMPLE: Final = 100
"""Vectors, or marks, that a table is known by. Equal prints mean equal vectors: few would do."""


def marks(number: int) -> str:
    """The table of a table's marks."""
    return f"embedmill_marks_{number}"


def version(db: sqlite3.Connection) -> int:
    """Of the database's schema: counted up by each change of it."""
    return int(db.execute("PRAGMA main.schema_version").fetchone()[0])


@dataclass(frozen=True, slots=True)
class Schema:
    """What the database tells of its tables now."""

    version: int  # counted up by each change of it
    pages: dict[str, int]  # where each table begins

    @classmethod
    def of(cls, db: sqlite3.Connection) -> Schema:
        """Read it."""
        rows = db.execute("SELECT name, rootpage FROM main.sqlite_master WHERE type = 'table'").fetchall()
        return cls(version(db), dict(rows))


class CatalogRow(NamedTuple):
    """A row of the catalog. What an older version has not noted is NULL."""

    id: int  # of the entry, and of its marks
    name: str  # of the table at the last run
    vector: str
    text: str
    keys: str
    space: str | None
    fields: str | None
    model: str | None
    filled: int
    page: int | None
    version_of_schema: int | None
    columns: str | None
    overwriting: int | None

    @property
    def place(self) -> tuple[str, str]:
        """Table and vector column of the last run."""
        return self.name, self.vector

    @property
    def is_named(self) -> bool:
        """Whether names are all that was noted of it, by an older version."""
        return self.page is None

    def is_certain(self, schema: Schema) -> bool:
        """Whether nothing has been renamed or made anew since the last run."""
        return self.version_of_schema == schema.version and self.page == schema.pages.get(self.name)

    def present(self, name: str, columns: Sequence[str]) -> str:
        """The name that one of the columns has now: the same, or that of its place, if that is a new one."""
        noted: list[str] = json.loads(self.columns or "[]")
        if name not in columns and name in noted and len(columns) >= len(noted):
            renamed = columns[noted.index(name)]
            return name if renamed in noted else renamed
        return name

    def registered(self, columns: Sequence[str], *, fits: bool, own: bool, name: str) -> CatalogEntry:
        """What others need to know of it, for a table of this name with these columns."""
        return CatalogEntry(
            self.id,
            self.space,
            self.model,
            bool(self.filled),
            self.present(self.text, columns),
            [self.present(key, columns) for key, *_ in json.loads(self.keys)],
            json.loads(self.fields) if self.fields else None,
            self.overwriting,
            fits=fits,
            prints=not self.is_named,
            own=own,
            before=("main", self.name) if self.name != name else None,
        )

    def has_key_of(self, spec: TableSpec, columns: Sequence[str]) -> bool:
        """Whether the marks' key is the spec's."""
        noted = [(self.present(name, columns), *rest) for name, *rest in json.loads(self.keys)]
        return noted == [(key.name, key.affinity, key.collation) for key in spec.keys]


def entries(db: sqlite3.Connection) -> list[CatalogRow]:
    """All entries, the newest first. Raises `StoreError` where one is not as it was written."""
    there = column_names(db, "embedmill_tables")
    fields = CatalogRow._fields
    wanted = ", ".join(quoted(name) if name in there else f"NULL AS {name}" for name in fields)
    rows = db.execute(f"SELECT {wanted} FROM embedmill_tables ORDER BY id DESC").fetchall()  # noqa: S608
    for row in rows:
        for name, value in zip(fields, row, strict=True):
            if not _is_sound(name, value):
                raise StoreError(
                    f"embedmill_tables is damaged ({name} of its row {row[0]!r}): restore the database, or delete that "
                    "row and fill the table anew with --overwrite"
                )
    return [CatalogRow(*row) for row in rows]


_JSON: Final = {"keys": list, "fields": dict, "columns": list}
_TEXTS: Final = ("name", "vector", "text", "space", "model", *_JSON)
"""What columns of the catalog hold; the others hold numbers."""


def _is_sound(name: str, value: str | int | None) -> bool:
    if value is None or name not in _TEXTS:
        return value is None or isinstance(value, int)
    if not isinstance(value, str):
        return False
    try:
        read = json.loads(value) if name in _JSON else None
    except ValueError:
        return False
    if name == "keys" and isinstance(read, list):
        return all(each and isinstance(each, list) for each in read)
    return isinstance(read, _JSON.get(name, object))


def find(db: sqlite3.Connection, spec: TableSpec) -> CatalogEntry | None:
    """The entry of a table: whether it is its own, and whether its marks fit the rows by their keys.

    Where it is another's, which is still there, this table has copies of its vectors: also where these were put in
    place of its own. The spec's key need not be chosen yet; then nothing is said of the marks.
    """
    schema, columns = Schema.of(db), column_names(db, spec.name)
    there, place = entries(db), (spec.name, spec.vector)

    def registered(entry: CatalogRow, *, fits: bool, own: bool = True) -> CatalogEntry:
        fits = fits and entry.has_key_of(spec, columns)
        return entry.registered(columns, fits=fits, own=own, name=spec.name)

    by_name = [entry for entry in there if entry.place == place]
    certain = next((entry for entry in by_name if entry.is_named or entry.is_certain(schema)), None)
    if certain is not None and not (spec.keys and _is_replaced(db, spec, certain, columns)):
        return registered(certain, fits=True)
    others = [entry for entry in there if not entry.is_certain(schema)] + [e for e in there if e.is_certain(schema)]
    prints = [] if spec.missing or not spec.vector else _prints(db, *place)
    matches = {entry.id: _known(db, entry, prints) for entry in others} if prints else {}
    found = [entry for entry in others if matches.get(entry.id)]
    if certain is not None and (certain in found or not found):  # replaced, but by no table's of ours
        return registered(certain, fits=True)
    if not found and not by_name and prints:  # of an older version the texts must do
        vanished = [
            entry for entry in there if entry.is_named and entry.place[1] not in column_names(db, entry.place[0])
        ]
        for entry in vanished:
            if _has_texts(db, spec, entry):
                return registered(entry, fits=True)
    if not found:
        for entry in others:
            page, vector = entry.page, entry.present(entry.vector, columns)
            is_same = entry in by_name or (page, vector) == (schema.pages.get(spec.name), spec.vector)
            if is_same and not _has_written(db, entry):  # what is noted speaks of no vector
                return registered(entry, fits=True)
        # Where another table has its vectors, the two have been swapped, and this one has none yet.
        if not by_name or _is_elsewhere(db, by_name[0], schema):
            return None
        return registered(by_name[0], fits=False).without_vectors()

    def weight(entry: CatalogRow) -> tuple[int, bool, bool]:
        return matches[entry.id], entry.page == schema.pages.get(spec.name), entry in by_name

    best = max(found, key=weight)
    own = best in by_name or not (best.is_certain(schema) or _stands(db, best))
    return registered(best, fits=own and len(found) == 1 and _fits(db, spec, best, columns), own=own)


def candidates(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables and columns that entries may be of."""
    schema, there = Schema.of(db), entries(db)
    places = [entry.place for entry in there if entry.place[1] in column_names(db, entry.place[0])]
    if any(not (entry.is_named or entry.is_certain(schema)) for entry in there):
        places += _vector_columns(db, schema)
    return list(dict.fromkeys(places))


def _stands(db: sqlite3.Connection, entry: CatalogRow) -> bool:
    """Whether the entry's vectors are still where they were."""
    name, vector = entry.place
    is_there = vector in column_names(db, name)
    return is_there and (entry.is_named or bool(_known(db, entry, _prints(db, name, vector))))


def _is_elsewhere(db: sqlite3.Connection, entry: CatalogRow, schema: Schema) -> bool:
    """Whether some other table or column has the entry's vectors."""
    others = (place for place in _vector_columns(db, schema) if place != entry.place)
    return any(_known(db, entry, _prints(db, *place)) for place in others)


def _vector_columns(db: sqlite3.Connection, schema: Schema) -> Iterator[tuple[str, str]]:
    """The columns of users' tables that may hold vectors, with their tables."""
    tables = (table for table in schema.pages if not table.startswith(("embedmill_", "sqlite_")))
    return ((table, name) for table in tables for name in may_hold_vectors(db, table))


def _prints(db: sqlite3.Connection, table: str, vector: str) -> list[bytes]:
    column = f"t.{quoted(vector)}"
    rows = db.execute(
        f"SELECT {column} FROM {quoted(table)} AS t WHERE typeof({column}) = 'blob' LIMIT {_SAMPLE}"  # noqa: S608
    )
    return [print_of(blob) for (blob,) in rows.fetchall()]


def _known(db: sqlite3.Connection, entry: CatalogRow, prints: Sequence[bytes]) -> int:
    """How many of these prints the entry's marks have."""
    table = marks(entry.id)
    if "print" not in column_names(db, table):
        return 0
    places = ", ".join("?" * len(prints))
    (known,) = db.execute(f"SELECT count(*) FROM {table} WHERE print IN ({places})", prints).fetchone()  # noqa: S608
    return int(known)


def _has_texts(db: sqlite3.Connection, spec: TableSpec, entry: CatalogRow) -> bool:
    """Whether most of the table's texts were embedded for the entry, as far as some of them tell."""
    if not spec.text or not column_names(db, marks(entry.id)):
        return False
    text, vector = quoted(spec.text), quoted(spec.vector)
    query = (
        f"SELECT {text} FROM {quoted(spec.name)} WHERE typeof({vector}) = 'blob' AND typeof({text}) = 'text' LIMIT ?"  # noqa: S608
    )
    hashes = [digest(content) for (content,) in db.execute(query, [_SAMPLE]).fetchall()]
    places = ", ".join("?" * len(hashes))
    query = f"SELECT count(DISTINCT hash) FROM {marks(entry.id)} WHERE cause IS NULL AND hash IN ({places})"  # noqa: S608
    (known,) = db.execute(query, hashes).fetchone()
    return bool(known and 2 * known >= len(set(hashes)))


def _has_written(db: sqlite3.Connection, entry: CatalogRow) -> bool:
    table = marks(entry.id)
    if not column_names(db, table):
        return False
    return bool(db.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE space IS NOT NULL)").fetchone()[0])  # noqa: S608


def _fits(db: sqlite3.Connection, spec: TableSpec, entry: CatalogRow, columns: Sequence[str]) -> bool:
    """Whether the marks are those of the rows that have their keys, as far as some of them tell."""
    same = _compared(db, spec, entry, columns, at_random=True)
    return bool(same) and all(same)


def _is_replaced(db: sqlite3.Connection, spec: TableSpec, entry: CatalogRow, columns: Sequence[str]) -> bool:
    """Whether the rows of the entry's marks have other vectors, as far as some of them tell."""
    same = _compared(db, spec, entry, columns, at_random=False)
    return bool(same) and not any(same)


def _compared(
    db: sqlite3.Connection, spec: TableSpec, entry: CatalogRow, columns: Sequence[str], *, at_random: bool
) -> list[bool]:
    """Of some marks whose rows are found by their keys: whether these have the very vectors."""
    table = marks(entry.id)
    if not spec.keys or not entry.has_key_of(spec, columns) or "print" not in column_names(db, table):
        return []
    statement = Statements(spec, table, "").some_prints(at_random=at_random)
    rows = db.execute(statement, {"limit": _SAMPLE}).fetchall()
    return [print_of(blob) == noted for blob, noted in rows]
