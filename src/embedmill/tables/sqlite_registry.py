"""What an SQLite database knows of the tables that are filled in it."""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Final

from embedmill.errors import StoreError
from embedmill.fingerprint import Fingerprint
from embedmill.tables.registered import Registered
from embedmill.tables.sqlite_statements import Statements
from embedmill.tables.sqlite_target import Target, column_names

log = logging.getLogger(__name__)

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
_FIND: Final = "SELECT id, space, model, filled FROM embedmill_tables WHERE name = ? AND vector = ?"


def marks(number: int) -> str:
    """The table of a table's marks."""
    return f"embedmill_marks_{number}"


def find(db: sqlite3.Connection, path: Path, target: Target) -> Registered | None:
    """The entry of a table and its vector column. Raises `StoreError` where a newer embedmill has written it."""
    columns = column_names(db, "embedmill_tables")
    if not columns:
        return None
    if "version" not in columns:
        raise StoreError(f"{path}: its table embedmill_tables is not embedmill's: rename it")
    (newest,) = db.execute("SELECT max(version) FROM embedmill_tables").fetchone()
    if newest is not None and newest > VERSION:
        raise StoreError(f"{path}: a newer embedmill has filled its tables: upgrade embedmill")
    row = db.execute(_FIND, [target.name, target.vector]).fetchone()
    return None if row is None else Registered(row[0], row[1], row[2], bool(row[3]))


def bind(
    db: sqlite3.Connection, path: Path, target: Target, fingerprint: Fingerprint, model: str, *, overwrite: bool
) -> Registered:
    """Register the table with its space, and create its marks, in the caller's transaction.

    Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
    """
    space = fingerprint.space
    db.execute(_CREATE)
    found = find(db, path, target)
    number = _entry(db, target, found)
    statements = Statements(target, marks(number), "")
    for statement in statements.create_marks:
        db.execute(statement)
    if found is not None and found.space not in (None, space.id) and not overwrite:
        (filled,) = db.execute(statements.has_vectors, {"space": found.space}).fetchone()
        if filled:
            raise found.mismatch(f"{target.name}.{target.vector}", str(found.space), model, space.id)
    if found is None or found.space != space.id:
        fields = json.dumps(asdict(space), sort_keys=True)
        db.execute(
            "UPDATE embedmill_tables SET space = ?, fields = ?, model = ? WHERE id = ?",
            [space.id, fields, model, number],
        )
        return Registered(number, space.id, model, found is not None and found.filled)
    return found


def note_filled(db: sqlite3.Connection, number: int) -> None:
    """A run has come to its end."""
    db.execute("UPDATE embedmill_tables SET filled = 1 WHERE id = ? AND NOT filled", [number])


def next_run(db: sqlite3.Connection, number: int) -> int:
    """A number for a new run over a table."""
    db.execute("UPDATE embedmill_tables SET runs = runs + 1 WHERE id = ?", [number])
    return int(db.execute("SELECT runs FROM embedmill_tables WHERE id = ?", [number]).fetchone()[0])


def _entry(db: sqlite3.Connection, target: Target, found: Registered | None) -> int:
    """The number of the table's entry; its marks go where the table has another key than they."""
    keys = json.dumps([astuple(key)[:3] for key in target.keys])
    if found is None:
        values = [VERSION, target.name, target.vector, target.text, keys]
        new = db.execute(
            "INSERT INTO embedmill_tables (version, name, vector, text, keys) VALUES (?, ?, ?, ?, ?)",
            values,
        )
        return int(new.lastrowid or 0)
    (before,) = db.execute("SELECT keys FROM embedmill_tables WHERE id = ?", [found.id]).fetchone()
    db.execute("UPDATE embedmill_tables SET text = ?, keys = ? WHERE id = ?", [target.text, keys, found.id])
    if before != keys:
        log.warning("%s has another key than before: its rows are looked at anew", target.name)
        db.execute(f"DROP TABLE IF EXISTS {marks(found.id)}")
    return found.id
