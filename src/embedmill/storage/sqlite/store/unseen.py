"""Which documents a run has seen, and the removal of those that it has not."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from embedmill.storage.sqlite.store.rows import mark_changed

# Temporary tables, since the names of a large corpus would not fit into memory. They live and roll back
# with the writer's connection.
_TABLES: Final = (
    "CREATE TEMP TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE scopes (low TEXT, high TEXT, keep INTEGER)",  # low <= name < high
    "CREATE TEMP TABLE gone (name TEXT PRIMARY KEY) WITHOUT ROWID",
)

_FIND_GONE: Final = (
    """INSERT INTO temp.gone
       SELECT name FROM temp.scopes s JOIN documents ON name >= s.low AND name < s.high
       WHERE complete AND NOT s.keep AND name NOT IN (SELECT name FROM temp.seen)
       ON CONFLICT DO NOTHING""",
    """INSERT INTO temp.gone
       SELECT document FROM temp.scopes s JOIN failures ON document >= s.low AND document < s.high
       WHERE NOT s.keep AND document NOT IN (SELECT name FROM temp.seen)
       ON CONFLICT DO NOTHING""",
    """DELETE FROM temp.gone
       WHERE EXISTS (SELECT 1 FROM temp.scopes s WHERE s.keep AND name >= s.low AND name < s.high)""",
)

_FIND_STAGED: Final = """
    SELECT id FROM temp.scopes s JOIN documents ON name >= s.low AND name < s.high
    WHERE NOT complete AND NOT s.keep
    AND NOT EXISTS (SELECT 1 FROM temp.scopes s WHERE s.keep AND name >= s.low AND name < s.high)
"""


def prepare(db: sqlite3.Connection) -> None:
    """Make a new connection ready to note names."""
    for table in _TABLES:
        db.execute(table)


def mark_seen(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Note that these documents exist."""
    db.executemany("INSERT OR IGNORE INTO temp.seen VALUES (?)", ((name,) for name in names))


def page(db: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Some of what `find` has found, in order, behind this name."""
    found = db.execute("SELECT name FROM temp.gone WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [row[0] for row in found]


def find(db: sqlite3.Connection, scopes: Sequence[str], keep: Sequence[str]) -> None:
    """Note in a temporary table what the scopes hold unseen."""
    db.execute("DELETE FROM temp.scopes")
    rows = [(*name_range(scope), 0) for scope in scopes] + [(*name_range(scope), 1) for scope in keep]
    db.executemany("INSERT INTO temp.scopes VALUES (?, ?, ?)", rows)
    db.execute("DELETE FROM temp.gone")
    for statement in _FIND_GONE:
        db.execute(statement)


def remove(db: sqlite3.Connection, scopes: Sequence[str], keep: Sequence[str], staged: Collection[int]) -> int:
    """Remove what the scopes hold unseen, and all staged versions but these; how many documents went."""
    find(db, scopes, keep)
    (gone,) = db.execute("SELECT count(*) FROM temp.gone").fetchone()
    if gone:
        db.execute("DELETE FROM documents WHERE complete AND name IN (SELECT name FROM temp.gone)")
        db.execute("DELETE FROM failures WHERE document IN (SELECT name FROM temp.gone)")
        mark_changed(db)
    abandoned = {row[0] for row in db.execute(_FIND_STAGED)} - set(staged)
    db.executemany("DELETE FROM documents WHERE id = ?", [(number,) for number in abandoned])
    return int(gone)


def name_range(scope: str) -> tuple[str, str]:
    """The names of a scope as ``low <= name < high``: all that begin with "folder/", or the one name."""
    return (scope, scope[:-1] + chr(ord("/") + 1)) if scope.endswith("/") else (scope, scope + "\0")
