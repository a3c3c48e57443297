"""What a damaged SQLite store holds where something else has to stand: SQLite itself lets any value into any column."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

RAISED: Final = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, struct.error)
"""What Python raises over a value of another type, or length, than the one expected."""

_TYPES: Final = {"INTEGER": "integer", "TEXT": "text", "BLOB": "blob"}

_FACTS: Final = {"generation": "blob", "space": "text", "fields": "text", "dimension": "integer", "model": "text"}


def misfits(db: sqlite3.Connection, *, but: str = "") -> Iterator[str]:
    """The columns that hold values of another type than the schema says, a line each; `but`: a table to pass over."""
    tables = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    for (table,) in tables:
        if table == but:
            continue
        for _, column, declared, required, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
            kind = _TYPES.get(declared.upper())
            if kind is None:
                continue
            allowed = f"'{kind}'" if required else f"'{kind}', 'null'"
            fits = f'typeof("{column}") IN ({allowed})'
            query = f'SELECT count(*) FROM "{table}" WHERE NOT ({fits})'  # noqa: S608 - the schema's own names
            (wrong,) = db.execute(query).fetchone()
            if wrong:
                yield f"{wrong:,} rows of table {table} have a {column} that is no {kind}"
    for key, kind in _FACTS.items():
        for (held,) in db.execute("SELECT typeof(value) FROM meta WHERE key = ?", (key,)).fetchall():
            if held != kind:
                yield f"the {key} that the store is bound to is no {kind}"


def _lengths(db: sqlite3.Connection) -> Iterator[str]:
    query = "SELECT count(*) FROM vectors WHERE length(vector) <> 4 * (SELECT value FROM meta WHERE key = 'dimension')"
    (wrong,) = db.execute(query).fetchone()
    if wrong:
        yield f"{wrong:,} vectors are not as long as the store's have to be"


def damage(path: Path) -> str:
    """The first of these in a file; "" where there is none, or that cannot be told."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as db:
            return next(misfits(db), "") or next(_lengths(db), "")
    except sqlite3.Error:
        return ""
