"""How damaged rows of an SQLite store are read, overwritten and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk, embedding_input
from embedmill.core.vectors import Vector
from embedmill.storage.sqlite.store import rows
from embedmill.storage.sqlite.store.database import remove_misfits
from embedmill.storage.sqlite.store.inspection import NO_ROOT, vector_of

_CHUNK = """
    SELECT c.id, d.id, c.hash, c.context, c.text, CASE typeof(v.vector) WHEN 'blob' THEN v.vector END, d.precision
    FROM documents d JOIN chunks c ON c.document = d.id LEFT JOIN vectors v ON v.chunk = c.id
    WHERE d.complete AND d.name = ? AND c.idx = ?
"""

_ATTRIBUTES = """
    UPDATE chunks SET attributes = NULL
    WHERE idx = ? AND document IN (SELECT id FROM documents WHERE complete AND name = ?)
"""

_OF_NO_ROOT = tuple(
    f"DELETE FROM {table} WHERE {key} IN (SELECT name FROM (SELECT {key} AS name FROM {table}) n WHERE {NO_ROOT})"  # noqa: S608
    for table, key in (("documents", "name"), ("failures", "document"), ("given", "scope"))
)

_ORPHAN_CHUNKS = "document NOT IN (SELECT id FROM documents)"


def read_chunk(db: sqlite3.Connection, found: Finding) -> StoredChunk | None:
    """The chunk of a complete document that a finding is about."""
    row = db.execute(_CHUNK, (found.name, found.index)).fetchone()
    if row is None:
        return None
    _, _, _, context, text, blob, precision = row
    vector = vector_of(blob)
    stored = np.empty(0, np.float32) if vector is None else vector
    return StoredChunk(
        found.document, found.index or 0, embedding_input(context, text), stored, precision, name=found.name
    )


def rewrite(db: sqlite3.Connection, vectors: Sequence[tuple[Finding, Vector]]) -> None:
    """Put vectors in the place of those that chunks have; `db` is in a transaction."""
    dimension = rows.facts(db)["dimension"]
    for found, vector in vectors:
        row = db.execute(_CHUNK, (found.name, found.index)).fetchone()
        if row is not None:
            chunk, document, key, *_ = row
            rows.put_vectors(db, [chunk], [key], [vector], dimension)
            # A matrix that has the document would be taken to have this vector of it.
            db.execute("UPDATE documents SET uid = random() WHERE id = ?", (document,))
        _forget_staged(db, found.name)
    rows.mark_changed(db)


def discard(db: sqlite3.Connection, found: Sequence[Finding]) -> None:
    """Remove what is of no use; `db` is in a transaction."""
    kinds = {each.kind for each in found}
    if DamageKind.TYPE in kinds:
        remove_misfits(db)
    if DamageKind.CHUNK_ORPHAN in kinds:
        db.execute(f"DELETE FROM vectors WHERE chunk IN (SELECT id FROM chunks WHERE {_ORPHAN_CHUNKS})")  # noqa: S608
        db.execute(f"DELETE FROM chunks WHERE {_ORPHAN_CHUNKS}")  # noqa: S608
    if DamageKind.VECTOR_ORPHAN in kinds:
        db.execute("DELETE FROM vectors WHERE chunk NOT IN (SELECT id FROM chunks)")
    if DamageKind.ROOT_MISSING in kinds:
        for statement in _OF_NO_ROOT:
            db.execute(statement)
    for each in found:
        if each.kind is DamageKind.FAILURE_STRAY:
            db.execute("DELETE FROM failures WHERE document = ? AND idx = ?", (each.name, each.index))
        elif each.kind is DamageKind.OPTIONS:
            db.execute("DELETE FROM given WHERE scope = ?", (each.name,))
        elif each.kind is DamageKind.ATTRIBUTES:
            db.execute(_ATTRIBUTES, (each.index, each.name))
        elif each.index is not None and each.kind is not DamageKind.CHUNK_ORPHAN:
            db.execute(
                "DELETE FROM chunks WHERE idx = ? AND document IN (SELECT id FROM documents WHERE name = ?)",
                (each.index, each.name),
            )
            db.execute("UPDATE documents SET uid = random() WHERE complete AND name = ?", (each.name,))
            _forget_staged(db, each.name)
    rows.mark_changed(db)


def _forget_staged(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM documents WHERE NOT complete AND name = ?", (name,))
