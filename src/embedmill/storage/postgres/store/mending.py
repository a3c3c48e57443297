"""How damaged rows of a PostgreSQL store are read, overwritten and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk, embedding_input
from embedmill.core.vectors import Vector
from embedmill.storage.checksums import checksum_of
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector, text_of
from embedmill.storage.postgres.store import text
from embedmill.storage.postgres.store.inspection import NO_ROOT

from psycopg import sql  # isort: skip - after the module that says what to install

_CHUNK: Final = """
    SELECT c.context, c.text, c.vector, d.precision
    FROM documents d JOIN chunks c ON c.document = d.id WHERE d.complete AND d.name = %s AND c.idx = %s
"""

_HASH: Final = """
    SELECT c.id, c.hash FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete AND d.name = %s AND c.idx = %s
"""

_REWRITE: Final = "UPDATE chunks SET vector = %s::vector, checksum = %s WHERE id = %s"

_OTHERS: Final = "SELECT EXISTS (SELECT FROM chunks WHERE vector_dims(vector) <> %s)"

_ATTRIBUTES: Final = """
    UPDATE chunks c SET attributes = NULL
    FROM documents d WHERE d.id = c.document AND d.complete AND d.name = %s AND c.idx = %s
"""

_OF_NO_ROOT: Final = tuple(
    f"DELETE FROM {table} WHERE {key} IN (SELECT name FROM (SELECT {key} AS name FROM {table}) n WHERE {NO_ROOT})"  # noqa: S608
    for table, key in (("documents", "name"), ("failures", "document"), ("given", "scope"))
)

_DISCARD: Final = """
    DELETE FROM chunks c USING documents d WHERE d.id = c.document AND d.name = %s AND c.idx = %s
"""


def read_chunk(db: Connection, found: Finding) -> StoredChunk | None:
    """The chunk of a complete document that a finding is about."""
    row = db.execute(_CHUNK, [text.write(found.name), found.index], binary=True).fetchone()
    if row is None:
        return None
    context, words, sent, precision = row
    given = embedding_input(text.read(context), text.read(words))
    vector = np.empty(0, np.float32) if sent is None else read_vector(sent)
    return StoredChunk(found.document, found.index or 0, given, vector, precision, name=found.name)


def rewrite(db: Connection, vectors: Sequence[tuple[Finding, Vector]]) -> int:
    """Put vectors in the place of those that chunks have; how many."""
    for found, vector in vectors:
        for chunk, key in db.execute(_HASH, [text.write(found.name), found.index], binary=True).fetchall():
            db.execute(_REWRITE, [text_of(vector), checksum_of(key, vector), chunk])
    _forget_staged(db, [found for found, _ in vectors])
    return len(vectors)


def discard(db: Connection, found: Sequence[Finding], dimension: int | None) -> int:
    """Remove what is of no use; how many findings that was about."""
    kinds = {each.kind for each in found}
    if DamageKind.CHUNK_ORPHAN in kinds:
        db.execute("DELETE FROM chunks WHERE document NOT IN (SELECT id FROM documents)")
    if DamageKind.TYPE in kinds and dimension and not db.scalar(_OTHERS, [dimension]):
        db.execute(f"ALTER TABLE chunks ALTER COLUMN vector TYPE vector({int(dimension)})")
    if DamageKind.ROOT_MISSING in kinds:
        for statement in _OF_NO_ROOT:
            db.execute(statement)
    for each in found:
        if each.kind is DamageKind.INDEX:
            _mend_index(db, each.name)
        elif each.kind is DamageKind.FAILURE_STRAY:
            db.execute("DELETE FROM failures WHERE document = %s AND idx = %s", [text.write(each.name), each.index])
        elif each.kind is DamageKind.OPTIONS:
            db.execute("DELETE FROM given WHERE scope = %s", [text.write(each.name)])
        elif each.kind is DamageKind.ATTRIBUTES:
            db.execute(_ATTRIBUTES, [text.write(each.name), each.index])
        elif each.index is not None and each.kind is not DamageKind.CHUNK_ORPHAN:
            db.execute(_DISCARD, [text.write(each.name), each.index])
    _forget_staged(db, [each for each in found if each.index is not None])
    return len(found)


def _mend_index(db: Connection, name: str) -> None:
    """Drop an index of vectors, which `prepare_search` builds where it pays; make any other anew."""
    vectors = db.scalar(
        "SELECT amname NOT IN ('btree', 'hash') FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
        "WHERE c.oid = to_regclass(%s)",
        [sql.Identifier(name).as_string(db)],
    )
    statement = "DROP INDEX {}" if vectors else "REINDEX INDEX {}"
    db.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _forget_staged(db: Connection, found: Sequence[Finding]) -> None:
    names = list({text.write(each.name) for each in found})
    db.execute("DELETE FROM documents WHERE NOT complete AND name = ANY(%b::text[])", [names])
