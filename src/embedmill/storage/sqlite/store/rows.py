"""Rows of an SQLite store: the statements that several of its operations share."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, starmap
from operator import attrgetter
from typing import Any, Final

from embedmill.core.attributes import attributes_of
from embedmill.core.documents import DocumentState, Failure, Record, Replacement
from embedmill.core.errors import StoreError
from embedmill.core.vectors import Vector
from embedmill.storage.checksums import as_bytes, checksums, stacked

_VARIABLES: Final = 500  # in one statement: older builds of SQLite stop at 999

_AT_ONCE: Final = 2048  # vectors that are made ready together: 3 MB at 384 numbers

_STATE: Final = "SELECT name, size, mtime_ns, content_hash, recipe, ctime_ns, inode FROM documents WHERE complete"
"""The ledger's entries, as `DocumentState` has them."""

_PLACE: Final = attrgetter("chunk_index", "start", "end", "line", "end_line", "token_count")
_TEXT: Final = attrgetter("context", "text")


def facts(db: sqlite3.Connection) -> dict[str, Any]:
    """The store's meta table: `generation`, and what it is bound to."""
    return dict(db.execute("SELECT key, value FROM meta"))


def fields(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the store's space is made of; nothing where that cannot be read, which `verify` tells."""
    try:
        found = json.loads(facts.get("fields", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def has_chunks(db: sqlite3.Connection) -> bool:
    """Whether there is any vector, staged ones included."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM chunks)").fetchone()[0])


def select(db: sqlite3.Connection, sql: str, keys: Iterable[object], *more: object) -> Iterator[tuple[Any, ...]]:
    """The rows for all keys, which stand in place of ``{}``, in as many statements as it takes."""
    left = iter(keys)
    while some := list(islice(left, _VARIABLES)):
        yield from db.execute(sql.format(", ".join("?" * len(some))), (*some, *more))


def states(db: sqlite3.Connection, ids: Iterable[str]) -> list[DocumentState]:
    """The ledger's entries of these documents, as far as it has any."""
    return list(starmap(DocumentState, select(db, _STATE + " AND name IN ({})", ids)))


def ledger_page(db: sqlite3.Connection, after: str, limit: int) -> list[DocumentState]:
    """A page of the ledger, behind this name."""
    return list(starmap(DocumentState, db.execute(f"{_STATE} AND name > ? ORDER BY name LIMIT ?", (after, limit))))


def update_stats(db: sqlite3.Connection, states: Sequence[DocumentState]) -> None:
    """Note new sizes and times of documents whose content is as before; forget that they could not be read."""
    db.executemany(
        """UPDATE documents SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?
           WHERE complete AND name = ? AND content_hash = ?""",
        [(each.size, each.mtime_ns, each.ctime_ns, each.inode, each.id, each.content_hash) for each in states],
    )
    db.executemany("DELETE FROM failures WHERE document = ? AND idx = -1", [(each.id,) for each in states])


def mark_changed(db: sqlite3.Connection) -> None:
    """Give the store a new generation: a matrix written before is stale from here on."""
    db.execute("UPDATE meta SET value = randomblob(16) WHERE key = 'generation'")


def begin_staged(db: sqlite3.Connection, name: str, precision: str) -> int:
    """A new version of a document that nobody sees yet; returns its `documents.id`."""
    added = db.execute("INSERT INTO documents (name, precision, complete) VALUES (?, ?, 0)", (name, precision))
    return added.lastrowid or 0


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
        added = db.execute(
            """INSERT INTO documents
                   (name, precision, complete, size, mtime_ns, ctime_ns, inode, content_hash, recipe, chunks)
               VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?)""",
            (state.id, replacement.precision, *values),
        )
        return added.lastrowid or 0
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
    owned = [(owner, record) for owner, records in documents for record in records]
    if not owned:
        return
    dimension = facts(db).get("dimension")
    if dimension is None:
        raise StoreError("the store is not bound to a model: call bind first")
    # Only one process writes, so that ids can be given out here, and each table filled in one go.
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()
    db.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (number, owner, *_PLACE(chunk), record.hash, *_TEXT(chunk), chunk.page or 0, attributes_of(chunk))
            for number, (owner, record) in enumerate(owned, last + 1)
            for chunk in (record.chunk,)
        ),
    )
    for first in range(0, len(owned), _AT_ONCE):
        some = [record for _, record in owned[first : first + _AT_ONCE]]
        numbers = range(last + 1 + first, last + 1 + first + len(some))
        put_vectors(db, numbers, [record.hash for record in some], [record.vector for record in some], dimension)


def put_vectors(
    db: sqlite3.Connection, chunks: Iterable[int], hashes: Sequence[bytes], vectors: Sequence[Vector], dimension: int
) -> None:
    """Give these chunks, of these hashes, their vectors, in the place of those that they have."""
    blobs = as_bytes(stacked(vectors, dimension))
    db.executemany(
        "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", zip(chunks, blobs, checksums(hashes, blobs), strict=True)
    )


def record_failures(db: sqlite3.Connection, document: str, failures: Sequence[Failure], *, alone: bool = False) -> None:
    """Put failures on record, adding the attempts that there were; `alone`: no others of the document stay."""
    before = dict(db.execute("SELECT idx, attempts FROM failures WHERE document = ?", (document,)))
    if alone and before:
        db.execute("DELETE FROM failures WHERE document = ?", (document,))
    now = int(time.time())
    db.executemany(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(document, f.index, f.start, f.end, f.line, f.cause.type, f.cause.message),
                *(before.get(f.index, 0) + f.attempts, now),
            )
            for f in failures
        ],
    )


# Which documents a run has seen, and the removal of those that it has not

SEEN_TABLES: Final = (
    "CREATE TEMP TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE scopes (low TEXT, high TEXT, keep INTEGER)",  # low <= name < high
    "CREATE TEMP TABLE gone (name TEXT PRIMARY KEY) WITHOUT ROWID",
)
"""Of the writer's connection, with which they live and roll back. They are temporary ones, since the names of a large
corpus would not fit into memory."""

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


def mark_seen(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Note that these documents exist."""
    db.executemany("INSERT OR IGNORE INTO temp.seen VALUES (?)", ((name,) for name in names))


def unseen_page(db: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Some of what `find_unseen` has found, in order, behind this name."""
    found = db.execute("SELECT name FROM temp.gone WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [row[0] for row in found]


def find_unseen(db: sqlite3.Connection, scopes: Sequence[str], keep: Sequence[str]) -> None:
    """Note in a temporary table what the scopes hold unseen."""
    db.execute("DELETE FROM temp.scopes")
    rows = [(*name_range(scope), 0) for scope in scopes] + [(*name_range(scope), 1) for scope in keep]
    db.executemany("INSERT INTO temp.scopes VALUES (?, ?, ?)", rows)
    db.execute("DELETE FROM temp.gone")
    for statement in _FIND_GONE:
        db.execute(statement)


def remove_unseen(db: sqlite3.Connection, scopes: Sequence[str], keep: Sequence[str], staged: Collection[int]) -> int:
    """Remove what the scopes hold unseen, and all staged versions but these; how many documents went."""
    find_unseen(db, scopes, keep)
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
