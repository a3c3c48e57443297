"""What an SQLite database knows of the tables that are filled in it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Final

from embedmill.errors import StoreError
from embedmill.fingerprint import Fingerprint
from embedmill.tables.listing import Entry
from embedmill.tables.naming import shown
from embedmill.tables.registered import Registered
from embedmill.tables.sqlite.statements import Statements
from embedmill.tables.sqlite.target import Target, column_names

VERSION: Final = 1
"""Of these tables. An entry has the number of the version that has written it."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS embedmill_tables (
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
    UNIQUE (name, vector)
)
"""
_FIND: Final = "SELECT id, space, model, filled, text, keys, fields FROM embedmill_tables WHERE name = ? AND vector = ?"


def marks(number: int) -> str:
    """The table of a table's marks."""
    return f"embedmill_marks_{number}"


def find(db: sqlite3.Connection, path: Path, name: str, vector: str) -> Registered | None:
    """The entry of a table and its vector column. Raises `StoreError` where a newer embedmill has written it."""
    if not _is_there(db, path):
        return None
    row = db.execute(_FIND, [name, vector]).fetchone()
    if row is None:
        return None
    number, space, model, filled, text, keys, fields = row
    names = [name for name, *_ in json.loads(keys)]
    return Registered(number, space, model, bool(filled), text, names, json.loads(fields) if fields else None)


def entries(db: sqlite3.Connection, path: Path) -> list[Entry]:
    """The tables that are still there, in order of their names."""
    if not _is_there(db, path):
        return []
    rows = db.execute("SELECT name, text, vector, model, space, filled FROM embedmill_tables ORDER BY name, vector")
    return [
        Entry(shown([name]), text, vector, model, space, bool(filled))
        for name, text, vector, model, space, filled in rows.fetchall()
        if vector in column_names(db, name)
    ]


def bind(
    db: sqlite3.Connection, path: Path, target: Target, fingerprint: Fingerprint, model: str, *, overwrite: bool
) -> Registered:
    """Register the table with its space, and create its marks, in the caller's transaction.

    Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
    """
    space = fingerprint.space
    db.execute(_CREATE)
    found = _entry(db, path, target)
    statements = Statements(target, marks(found.id), "")
    for statement in statements.create_marks:
        db.execute(statement)
    if not overwrite:
        check(db, target, found, fingerprint, model)
    fields = json.dumps(asdict(space), sort_keys=True)
    if found.space == space.id:
        if found.fields != asdict(space):  # another prompt for queries
            db.execute("UPDATE embedmill_tables SET fields = ? WHERE id = ?", [fields, found.id])
        return found
    db.execute(
        "UPDATE embedmill_tables SET space = ?, fields = ?, model = ? WHERE id = ?",
        [space.id, fields, model, found.id],
    )
    return replace(found, space=space.id, model=model)


def check(db: sqlite3.Connection, target: Target, found: Registered, fingerprint: Fingerprint, model: str) -> None:
    """Raise `SpaceMismatch` where rows of the table have vectors of another space."""
    space = fingerprint.space.id
    if found.space not in (None, space):
        statements = Statements(target, marks(found.id), "")
        (filled,) = db.execute(statements.has_vectors, {"space": found.space}).fetchone()
        if filled:
            raise found.mismatch(f"{target.title}.{target.vector}", str(found.space), model, space)


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


def note_filled(db: sqlite3.Connection, number: int) -> None:
    """A run has come to its end."""
    db.execute("UPDATE embedmill_tables SET filled = 1 WHERE id = ? AND NOT filled", [number])


def next_run(db: sqlite3.Connection, number: int) -> int:
    """A number for a new run over a table."""
    db.execute("UPDATE embedmill_tables SET runs = runs + 1 WHERE id = ?", [number])
    return int(db.execute("SELECT runs FROM embedmill_tables WHERE id = ?", [number]).fetchone()[0])


def _entry(db: sqlite3.Connection, path: Path, target: Target) -> Registered:
    """The table's entry, with its columns as they are now; its marks go where it has another key than they."""
    keys = json.dumps([astuple(key)[:3] for key in target.keys])
    found = find(db, path, target.name, target.vector)
    if found is None:
        new = db.execute(
            "INSERT INTO embedmill_tables (version, name, vector, text, keys) VALUES (?, ?, ?, ?, ?)",
            [VERSION, target.name, target.vector, target.text, keys],
        )
        return Registered(new.lastrowid or 0, None, None, False, target.text, list(target.key_names))
    (before,) = db.execute("SELECT keys FROM embedmill_tables WHERE id = ?", [found.id]).fetchone()
    found.warn_of_changes(target.title, target.vector, target.text, other_key=before != keys)
    if before != keys:
        db.execute(f"DROP TABLE IF EXISTS {marks(found.id)}")
    db.execute("UPDATE embedmill_tables SET text = ?, keys = ? WHERE id = ?", [target.text, keys, found.id])
    return replace(found, text=target.text, keys=list(target.key_names))
