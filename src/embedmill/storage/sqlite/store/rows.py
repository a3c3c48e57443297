"""Rows of an SQLite store: the statements that several of its operations share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from embedmill.core.documents import Failure, Record, Replacement
from embedmill.core.errors import StoreError
from embedmill.core.vectors import Vector

_VARIABLES: Final = 500  # in one statement: older builds of SQLite stop at 999

_PLACE: Final = attrgetter("index", "start", "end", "line", "end_line", "tokens")
_TEXT: Final = attrgetter("context", "text")


def facts(db: sqlite3.Connection) -> dict[str, Any]:
    """The store's meta table: `generation`, and what it is bound to."""
    return dict(db.execute("SELECT key, value FROM meta"))


def has_chunks(db: sqlite3.Connection) -> bool:
    """Whether there is any vector, staged ones included."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM chunks)").fetchone()[0])


def select(db: sqlite3.Connection, sql: str, keys: Iterable[object], *more: object) -> Iterator[tuple[Any, ...]]:
    """The rows for all keys, which stand in place of ``{}``, in as many statements as it takes."""
    left = iter(keys)
    while some := list(islice(left, _VARIABLES)):
        yield from db.execute(sql.format(", ".join("?" * len(some))), (*some, *more))


def mark_changed(db: sqlite3.Connection) -> None:
    """Give the store a new generation: a matrix written before is stale from here on."""
    db.execute("UPDATE meta SET value = randomblob(16) WHERE key = 'generation'")


def begin_staged(db: sqlite3.Connection, name: str, precision: str) -> int:
    """A new version of a document that nobody sees yet; returns its `documents.id`."""
    return _insert(db, "INSERT INTO documents (name, precision, complete) VALUES (?, ?, 0)", (name, precision))


def complete(db: sqlite3.Connection, replacement: Replacement, staged: int | None) -> int:
    """Remove all versions of the document but the staged one; make that, or a new one, its visible version.

    The replacement's records are counted, and still to be added. Returns the version's `documents.id`.
    """
    state = replacement.state
    # In two statements, one for each index.
    db.execute("DELETE FROM documents WHERE complete AND name = ?", (state.id,))
    db.execute("DELETE FROM documents WHERE NOT complete AND name = ? AND id IS NOT ?", (state.id, staged))
    values = (
        *(state.size, state.mtime_ns, state.ctime_ns, state.inode, state.content_hash, state.recipe),
        len(replacement.records),
    )
    if staged is None:
        return _insert(
            db,
            """INSERT INTO documents
                   (name, precision, complete, size, mtime_ns, ctime_ns, inode, content_hash, recipe, chunks)
               VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?)""",
            (state.id, replacement.precision, *values),
        )
    completed = db.execute(
        """UPDATE documents SET complete = 1, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, content_hash = ?,
               recipe = ?,
               chunks = ? + (SELECT count(*) FROM chunks WHERE document = documents.id)
           WHERE id = ? AND precision = ?""",
        (*values, staged, replacement.precision),
    )
    if completed.rowcount != 1:
        raise ValueError(f"{state.id} was staged in another precision: this is a bug")
    return staged


def add(db: sqlite3.Connection, documents: Sequence[tuple[int, Sequence[Record]]]) -> None:
    """Insert the records of these versions of documents."""
    dimension = facts(db).get("dimension")
    if dimension is None:
        raise StoreError("the store is not bound to a model: call bind first")
    # Only one process writes, so that ids can be given out here, and each table filled in one go.
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()
    owned = [(owner, record) for owner, records in documents for record in records]
    db.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (number, owner, *_PLACE(record.chunk), record.hash, *_TEXT(record.chunk), record.chunk.page or 0)
            for number, (owner, record) in enumerate(owned, last + 1)
        ),
    )
    db.executemany(
        "INSERT INTO vectors VALUES (?, ?)",
        ((number, _blob(record.vector, dimension)) for number, (_, record) in enumerate(owned, last + 1)),
    )


def attempts(db: sqlite3.Connection, document: str) -> dict[int, int]:
    """The failures on record for a document: index -> attempts."""
    return dict(db.execute("SELECT idx, attempts FROM failures WHERE document = ?", (document,)))


def record_failures(
    db: sqlite3.Connection, document: str, failures: Sequence[Failure], before: Mapping[int, int]
) -> None:
    """Put failures on record, each with one attempt more than `before`."""
    now = int(time.time())
    db.executemany(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (document, f.index, f.start, f.end, f.line, f.cause.type, f.cause.message, before.get(f.index, 0) + 1, now)
            for f in failures
        ],
    )


def _blob(vector: Vector, dimension: int) -> bytes:
    if vector.shape != (dimension,):
        raise ValueError(f"a vector of shape {vector.shape} in a store of dimension {dimension}: this is a bug")
    return vector.astype("<f4", copy=False).tobytes()


def _insert(db: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> int:
    number = db.execute(sql, values).lastrowid
    assert number is not None
    return number
