"""What an SQLite database knows of the tables that are filled in it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Final

from embedmill.core.errors import StoreError
from embedmill.core.spaces import Fingerprint
from embedmill.storage.catalog import CatalogEntry, ListedTable
from embedmill.storage.columns import shown
from embedmill.storage.sqlite.table import identity
from embedmill.storage.sqlite.table.carrying import CARRIED
from embedmill.storage.sqlite.table.contents import print_of
from embedmill.storage.sqlite.table.database import PAGE, Database
from embedmill.storage.sqlite.table.identity import Schema, marks, version
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.sqlite.table.table_spec import TableSpec, column_names

NO_RUN: Final = -1
"""Stands for the run that wrote a row where that is not known, and comes before all others."""

VERSION: Final = 2
"""Of these tables. An entry has the number of the version that has written it."""

# Names may stand twice: a table that was dropped keeps its entry, by which one that is put in its place is known.
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {} (
    id      INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    vector  TEXT    NOT NULL,             -- the column that is filled
    text    TEXT    NOT NULL,             -- the column that is read
    keys    TEXT    NOT NULL,             -- JSON: of each column that tells a row its name, affinity and collation
    space   TEXT,                         -- of the vectors; NULL until the first run
    fields  TEXT,                         -- what the space is made of, as JSON
    model   TEXT,                         -- the name it was first written under
    runs    INTEGER NOT NULL DEFAULT 0,   -- that there were
    filled  INTEGER NOT NULL DEFAULT 0,   -- whether a run has come to its end
    columns TEXT,                         -- JSON: the names of all columns of the table
    page    INTEGER,                      -- at which the table begins
    version_of_schema INTEGER,            -- of the database, when all this was so
    overwriting INTEGER                   -- the first run of an overwriting that has not come to its end
)
"""
_OF_VERSION_1: Final = "id, version, name, vector, text, keys, space, fields, model, runs, filled"


def find(db: sqlite3.Connection, path: Path, spec: TableSpec) -> CatalogEntry | None:
    """The entry of a table and its vector column. Raises `StoreError` where a newer embedmill has written it."""
    return identity.find(db, spec) if _is_there(db, path) else None


def entries(db: sqlite3.Connection, path: Path) -> list[ListedTable]:
    """The tables that are still there, in order of their names."""
    if not _is_there(db, path):
        return []
    found: dict[tuple[str, str], ListedTable] = {}
    for name, vector in identity.candidates(db):
        known = identity.find(db, TableSpec(name, vector=vector))
        if known is not None and (known.space is not None or known.fits):
            found[name, vector] = ListedTable(shown([name]), known.text, vector, known.model, known.space, known.filled)
    return [found[place] for place in sorted(found)]


def bind(
    database: Database,
    db: sqlite3.Connection,
    spec: TableSpec,
    fingerprint: Fingerprint,
    model: str,
    *,
    overwrite: bool,
) -> CatalogEntry:
    """Register the table with its space, and create its marks, in the caller's transaction.

    Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
    """
    space = fingerprint.space
    _migrate(db)
    found = _entry(db, database.path, spec)
    if not overwrite:
        check(db, spec, found, marks(found.id), fingerprint, model)
    fields = json.dumps(asdict(space), sort_keys=True)
    if found.space == space.id:
        if found.fields != asdict(space):  # another prompt for queries
            db.execute("UPDATE embedmill_tables SET fields = ? WHERE id = ?", [fields, found.id])
        return found
    db.execute(
        "UPDATE embedmill_tables SET space = ?, fields = ?, model = ? WHERE id = ?", [space.id, fields, model, found.id]
    )
    return replace(found, space=space.id, model=model)


def rebind(database: Database, db: sqlite3.Connection, spec: TableSpec, fingerprint: Fingerprint, model: str) -> None:
    """Note another name of the space that the table's vectors are of, in the caller's transaction."""
    space = fingerprint.space
    _migrate(db)
    found = _entry(db, database.path, spec)
    found.check_rebinding(f"{spec.title}.{spec.vector}", space, model)
    db.execute(f"UPDATE {marks(found.id)} SET space = ? WHERE space = ?", [space.id, found.space])  # noqa: S608
    db.execute(
        "UPDATE embedmill_tables SET space = ?, fields = ?, model = ? WHERE id = ?",
        [space.id, json.dumps(asdict(space), sort_keys=True), model, found.id],
    )


def check(
    db: sqlite3.Connection, spec: TableSpec, found: CatalogEntry, known: str, fingerprint: Fingerprint, model: str
) -> None:
    """Raise `SpaceMismatch` where rows of the table have vectors of another space; `known` are its marks."""
    space = fingerprint.space.id
    if found.space not in (None, space):
        other = db.execute(Statements(spec, known, "").other_space, {"space": space}).fetchone()
        if other is not None:
            raise found.mismatch(f"{spec.title}.{spec.vector}", str(other[0]), model, fingerprint.space, spec.option)


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the tables of an older version up to date."""
    db.execute(_CREATE.format("embedmill_tables"))
    if "page" in column_names(db, "embedmill_tables"):
        return
    db.execute(_CREATE.format("embedmill_tables_new"))
    db.execute(
        f"INSERT INTO embedmill_tables_new ({_OF_VERSION_1}) SELECT {_OF_VERSION_1} FROM embedmill_tables"  # noqa: S608
    )
    db.execute("DROP TABLE embedmill_tables")
    db.execute("ALTER TABLE embedmill_tables_new RENAME TO embedmill_tables")
    for (number,) in db.execute("SELECT id FROM embedmill_tables").fetchall():
        if column_names(db, marks(number)):
            db.execute(f"ALTER TABLE {marks(number)} ADD COLUMN print BLOB")


def _is_there(db: sqlite3.Connection, path: Path) -> bool:
    """Whether any table has been filled. Raises `StoreError` where a newer embedmill has, or the name is taken."""
    columns = column_names(db, "embedmill_tables")
    if not columns:
        return False
    if "version" not in columns:
        raise StoreError(f"{path}: its table embedmill_tables is not embedmill's: rename it")
    (newest,) = db.execute("SELECT max(version) FROM embedmill_tables").fetchone()
    if newest is not None and newest > VERSION:
        raise StoreError(f"{path}: a newer embedmill has filled its tables: upgrade embedmill")
    return True


def mark_complete(db: sqlite3.Connection, number: int) -> None:
    """A run has come to its end. What is noted of names still holds now that tables of ours have been created."""
    statement = "UPDATE embedmill_tables SET filled = 1, overwriting = NULL, version_of_schema = ? WHERE id = ?"
    db.execute(statement, [version(db), number])


def overwrite_from(db: sqlite3.Connection, number: int, run: int) -> int:
    """The first run of an overwriting that this one begins, or goes on with."""
    statement = "UPDATE embedmill_tables SET overwriting = coalesce(overwriting, ?) WHERE id = ?"
    db.execute(statement, [run, number])
    return int(db.execute("SELECT overwriting FROM embedmill_tables WHERE id = ?", [number]).fetchone()[0])


def next_run(db: sqlite3.Connection, number: int) -> int:
    """A number for a new run over a table."""
    db.execute("UPDATE embedmill_tables SET runs = runs + 1 WHERE id = ?", [number])
    return int(db.execute("SELECT runs FROM embedmill_tables WHERE id = ?", [number]).fetchone()[0])


def _entry(db: sqlite3.Connection, path: Path, spec: TableSpec) -> CatalogEntry:
    """The table's entry, with its names and columns as they are now, and marks that fit its rows."""
    found = find(db, path, spec)
    if found is not None:
        found.warn_of_changes(spec.title, spec.vector, spec.text)
    values = [VERSION, spec.name, spec.vector, spec.text, json.dumps([astuple(key)[:3] for key in spec.keys])]
    number = found.id if found is not None and found.own else db.execute(_NEW, values).lastrowid or 0
    if found is not None and not found.fits and column_names(db, CARRIED):
        _replace_marks(db, spec, number)
        if not found.own:
            db.execute(_COPY, {"id": number, "from": found.id})
        db.execute(_FORGET.format(marks(number)), {"id": number})
    for statement in Statements(spec, marks(number), "").create_marks():
        db.execute(statement)
    if found is not None and found.fits and not found.prints:
        _print_all(db, spec, number)
    schema, columns = Schema.of(db), column_names(db, spec.name)
    db.execute(
        "UPDATE embedmill_tables SET version = ?, name = ?, vector = ?, text = ?, keys = ?, columns = ?, page = ?, "
        "version_of_schema = ? WHERE id = ?",
        [*values, json.dumps(columns), schema.pages[spec.name], schema.version, number],
    )
    (noted,) = [entry for entry in identity.entries(db) if entry.id == number]
    before = found.before if found is not None and found.own else None
    return replace(noted.registered(columns, fits=True, own=True, name=spec.name), before=before)


_NEW: Final = "INSERT INTO embedmill_tables (version, name, vector, text, keys) VALUES (?, ?, ?, ?, ?)"

_COPY: Final = """
UPDATE embedmill_tables AS new SET (space, fields, model, filled) =
    (SELECT old.space, old.fields, old.model, old.filled FROM embedmill_tables AS old WHERE old.id = :from)
WHERE new.id = :id
"""

_FORGET: Final = """
UPDATE embedmill_tables AS t SET space = NULL, fields = NULL, model = NULL, filled = 0
WHERE t.id = :id AND NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.space = t.space)
"""


def _print_all(db: sqlite3.Connection, spec: TableSpec, number: int) -> None:
    """Take the prints of all vectors that an older version has written."""
    statements, after = Statements(spec, marks(number), ""), 0
    while page := db.execute(statements.unprinted, {"after": after, "limit": PAGE}).fetchall():
        after = page[-1][0]
        values = [(print_of(vector), mark) for mark, vector in page if isinstance(vector, bytes)]
        db.executemany(f"UPDATE {marks(number)} SET print = ? WHERE id = ?", values)  # noqa: S608


def _replace_marks(db: sqlite3.Connection, spec: TableSpec, number: int) -> None:
    """Put those that were carried over in place of the table's own."""
    db.execute(f"DROP TABLE IF EXISTS {marks(number)}")
    for statement in Statements(spec, marks(number), "").create_marks():
        db.execute(statement)
    names = ", ".join(name for name in column_names(db, marks(number)) if name not in ("id", "run"))
    # Runs of another table have other numbers.
    db.execute(
        f"INSERT INTO {marks(number)} (run, {names}) SELECT {NO_RUN}, {names} FROM temp.{CARRIED}"  # noqa: S608
    )
