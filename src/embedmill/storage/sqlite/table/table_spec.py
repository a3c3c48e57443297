"""The part of an SQLite database that a run is about: a table, its key, its text and its vectors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.storage import columns as naming
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.columns import Column, quoted
from embedmill.storage.driver import TableRequest

KIND: Final = "BLOB or float[N]"
"""What vectors are: numbers of 32 bits, little-endian, one after another, as sqlite-vec reads them."""

_OWN: Final = re.compile(r"embedmill_(tables|marks_\d+)")
"""Names of the tables in which embedmill notes what it knows."""

_DECLARED: Final = re.compile(r"(?:float|float32|f32)\s*\[\s*(\d+)\s*\]", re.IGNORECASE)
"""The types of columns of vectors, as sqlite-vec writes them; others of its types hold no numbers of 32 bits."""

_ANY: Final = "BLOB"
"""The affinity of a column that takes values as they are."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of the unique index that tells rows apart. All of this decides how its values compare."""

    name: str
    affinity: str  # as SQLite's documentation names them ("Datatypes in SQLite", 3.1)
    collation: str
    nullable: bool  # as a primary key's column may be here


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What is read and filled; until key and text are chosen they are empty."""

    name: str
    keys: tuple[KeyColumn, ...] = ()  # in the order of their unique index
    index: str = ""  # its name; "" where the key is the rowid
    own_order: bool = False  # the index compares otherwise than its columns do by themselves
    text: str = ""
    vector: str = ""  # "" where none is needed
    option: str = "--vector"  # by which that is named, for messages
    vector_not_null: bool = False
    missing: bool = False  # the vector column is still to be created
    dimension: int | None = None  # that the column is declared with, as float[384]

    @property
    def title(self) -> str:
        """The table, for people, who may give it back."""
        return naming.shown([self.name])

    @property
    def metrics_title(self) -> str:
        """The table of metrics, for people."""
        return naming.shown([naming.metrics_name(self.name)])

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key's columns."""
        return tuple(key.name for key in self.keys)


def find(
    db: sqlite3.Connection,
    where: str,
    name: str,
    asked: TableRequest,
    noted: Callable[[TableSpec], CatalogEntry | None],
) -> TableSpec:
    """Find the table and choose its columns; `where` is the database, for people.

    `noted` tells what an earlier run has filled a table's vector column from: that is meant where nothing is given. It
    is asked before key and text are chosen.

    Raises `UsageError` where table or columns are not there, do not fit or are not clear.
    """
    table = _table(db, where, name)
    title = naming.shown([table])
    found = _columns(db, table)
    wanted = _spelled(found, naming.VECTOR_NAME if asked.vector is None else asked.vector)
    columns = [column.described(asked.text, wanted) for column in found]
    given = wanted if asked.vector is not None or wanted in [column.name for column in columns] else None
    filled: Column | str = ""
    with naming.optional(not asked.metrics_only):
        others = naming.without(columns, asked.beside if asked.vector is None else None)
        filled = naming.choose_vector(others, given, title, create=asked.create, kinds=KIND, option=asked.option)
    vector_name = filled if isinstance(filled, str) else filled.name
    before = noted(TableSpec(table, vector=vector_name, missing=isinstance(filled, str)))
    text = naming.meant_text(columns, asked.text, before)
    columns = [column.described(text, wanted) for column in found]
    unique = _unique(db, table, found)
    chosen = naming.choose_key(columns, [(each.primary, each.names) for each in unique], asked.id, before, title)
    by = next(each for each in unique if each.names == chosen)
    _check_collations(db, by, title)
    chosen_text = naming.choose_text(columns, chosen, text, title).name
    if asked.metrics_only:
        filled = vector_name = ""
    if vector_name in (chosen_text, *chosen):
        raise UsageError(
            f"{asked.option}: {title}.{vector_name} is the text, or a part of the key: name another column"
        )
    return TableSpec(
        name=table,
        keys=by.keys,
        index=by.index,
        own_order=_has_own_order(db, table, by),
        text=chosen_text,
        vector=vector_name,
        option=asked.option,
        vector_not_null=isinstance(filled, Column) and filled.not_null,
        missing=isinstance(filled, str) and not asked.metrics_only,
        dimension=_dimension(filled.type) if isinstance(filled, Column) else None,
    )


def column_names(db: sqlite3.Connection, table: str) -> list[str]:
    """A table's columns, generated ones too; empty where there is no such table."""
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_xinfo(?)", [table])]


def has_triggers(db: sqlite3.Connection, table: str) -> bool:
    """Whether a change of the table may set off others."""
    query = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?))"
    return bool(db.execute(query, [table]).fetchone()[0])


def folded(name: str) -> str:
    """Names that are the same here fold to the same: SQLite knows no other letters in two cases than ASCII's."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


# The table


def _table(db: sqlite3.Connection, where: str, name: str) -> str:
    parts = [part for part, _ in naming.parts(name)]
    relations = {
        table: (kind, statement or "")
        for table, kind, statement in db.execute("SELECT name, type, sql FROM main.sqlite_master")
        if kind in ("table", "view") and not table.startswith("sqlite_")
    }
    alike = [table for table in relations if folded(table) == folded(parts[-1])]
    if not alike or (len(parts) == 2 and folded(parts[0]) != "main"):
        raise naming.no_such_table(name, where, [naming.shown([table]) for table in relations])
    table = str(alike[0])
    title = naming.shown([table])
    if _OWN.fullmatch(folded(table)):
        raise UsageError(f"{title} is a table of embedmill's own: give one of yours")
    kind, statement = relations[table]
    if kind == "view":
        raise UsageError(f"{title} is a view: give the table that it is made from")
    if statement.upper().startswith("CREATE VIRTUAL"):
        raise UsageError(f"{title} is a virtual table: give an ordinary one")
    if _listing(db, table)[0] == "shadow":
        raise UsageError(f"{title} belongs to a virtual table: give an ordinary one")
    return table


def _listing(db: sqlite3.Connection, table: str) -> tuple[str, bool]:
    """Its type, and whether it is STRICT; SQLite before 3.37 says nothing, and knows no such tables."""
    for schema, _, kind, _, _, strict in db.execute(f"PRAGMA main.table_list({quoted(table)})"):
        if schema == "main":
            return str(kind), bool(strict)
    return "table", False


# Its columns


@dataclass(frozen=True, slots=True)
class _DeclaredColumn:
    """A column as the database tells of it."""

    name: str
    type: str
    affinity: str
    not_null: bool
    primary: int  # its place in the primary key, from 1; 0 for none
    generated: bool

    def described(self, text: str | None, vector: str) -> Column:
        """The column as others see it; `text` and `vector` are the columns that are asked for.

        Types bind no value here. A column that may hold anything is taken for the text only where it is named, for the
        vectors only where it has their name, or is declared as such: many a BLOB is a picture.
        """
        declared = _dimension(self.type) is not None
        may_be_text = self.affinity == "TEXT" or (text is not None and self.affinity == "NUMERIC") or not self.type
        is_vector = (declared or (self.affinity == _ANY and self.name == vector)) and not self.generated
        is_text = may_be_text and (text is not None or not is_vector)
        return Column(self.name, self.type, is_text and not declared, is_vector, self.not_null, self.generated)


def _dimension(declared: str) -> int | None:
    """That of a type that says it holds vectors; None for all others."""
    found = _DECLARED.fullmatch(declared.strip())
    return int(found[1]) if found else None


def may_hold_vectors(db: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table that vectors may have been written to, by their types."""
    return [column.name for column in _columns(db, table) if column.affinity == _ANY or _dimension(column.type)]


def _columns(db: sqlite3.Connection, table: str) -> list[_DeclaredColumn]:
    _, strict = _listing(db, table)
    rows = db.execute('SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)', [table])
    return [
        _DeclaredColumn(name, kind, _affinity(kind, strict=strict), bool(not_null), primary, hidden in (2, 3))
        for name, kind, not_null, primary, hidden in rows
    ]


def _affinity(declared: str, *, strict: bool) -> str:
    """What a declared type makes of values ("Datatypes in SQLite", 3.1, and "STRICT Tables")."""
    declared = declared.upper()
    if strict and declared == "ANY":
        return _ANY
    for affinity, parts in _AFFINITIES:
        if any(part in declared for part in parts):
            return affinity
    return "NUMERIC" if declared else _ANY


_AFFINITIES: Final = [
    ("INTEGER", ("INT",)),
    ("TEXT", ("CHAR", "CLOB", "TEXT")),
    ("BLOB", ("BLOB",)),
    ("REAL", ("REAL", "FLOA", "DOUB")),
]


def _spelled(columns: Sequence[_DeclaredColumn], name: str) -> str:
    """The name as the table spells it; as it is where there is no such column."""
    for wanted in (name, naming.unquoted(name)):
        for column in columns:
            if folded(column.name) == folded(wanted):
                return column.name
    return name


# Its key


@dataclass(frozen=True, slots=True)
class _Unique:
    """What tells rows apart."""

    primary: bool
    index: str
    keys: tuple[KeyColumn, ...]

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.keys]


def _unique(db: sqlite3.Connection, table: str, columns: Sequence[_DeclaredColumn]) -> list[_Unique]:
    """The primary key, and the unique indexes whose columns are NOT NULL."""
    by_name = {column.name: column for column in columns}
    found: list[_Unique] = []
    indexes = db.execute('SELECT name, origin FROM pragma_index_list(?) WHERE "unique" AND NOT partial', [table])
    for index, origin in indexes.fetchall():
        parts = db.execute("SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", [index]).fetchall()
        if any(name is None for name, _ in parts):  # an expression
            continue
        keys = tuple(
            KeyColumn(name, by_name[name].affinity, collation, not by_name[name].not_null) for name, collation in parts
        )
        if origin == "pk" or not any(key.nullable for key in keys):
            found.append(_Unique(origin == "pk", index, keys))
    if not any(each.primary for each in found):
        found += [
            _Unique(True, "", (KeyColumn(column.name, column.affinity, "BINARY", False),))
            for column in columns
            if column.primary  # without an index: it is the rowid
        ]
    return sorted(found, key=lambda each: not each.primary)


def _check_collations(db: sqlite3.Connection, unique: _Unique, title: str) -> None:
    for key in unique.keys:
        try:
            db.execute(f"SELECT '' = '' COLLATE {quoted(key.collation)}")
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"{title}.{key.name} is ordered by {key.collation}, which only the application knows: name the columns "
                "of another unique index with --id"
            ) from error


def _has_own_order(db: sqlite3.Connection, table: str, unique: _Unique) -> bool:
    """Whether collations have to be named for the order of the index. No pragma tells a column's own."""
    if not unique.index:
        return False
    order = ", ".join(f"t.{quoted(name)}" for name in unique.names)
    plan = db.execute(
        f"EXPLAIN QUERY PLAN SELECT 1 FROM {quoted(table)} AS t INDEXED BY {quoted(unique.index)} ORDER BY {order}"  # noqa: S608
    )
    return any("TEMP B-TREE" in step for *_, step in plan.fetchall())
