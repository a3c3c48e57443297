"""What may be wrong with a PostgreSQL store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.storage.integrity import (
    MISCOUNTED,
    ROWS,
    STRAY,
    Held,
    Shown,
    check_binding,
    check_chunks,
    check_counts,
    check_failures,
)
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.store import rows, text

_COLUMN: Final = """
    SELECT format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = 'chunks'::regclass AND attname = 'vector'
"""

_INVALID: Final = """
    SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE indrelid = ANY('{meta, writer, seen, documents, chunks, failures}'::regclass[]) AND NOT indisvalid
    AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
"""
"""Indexes that nobody builds just now, and that are not valid."""

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.hash, c.context, c.text, c.vector, d.precision
    FROM chunks c LEFT JOIN documents d ON d.id = c.document
"""


def problems(
    db: Connection, look: Callable[[StoredChunk], None] = lambda _: None, shown: Shown = str
) -> Iterator[Finding]:
    """All that is wrong; `db` is in a transaction that sees one state throughout. `look` is given the sound chunks."""
    held = rows.bound(db)
    if held is None:
        yield from check_binding(None, None, None, rows.has_chunks(db))
    else:
        yield from check_binding(held.space, held.fields, held.dimension, rows.has_chunks(db))
        for column in db.scalars(_COLUMN):
            if column.rpartition(".")[2] != f"vector({held.dimension})":
                detail = f"the store is bound to dimension {held.dimension}, but the column of vectors is a {column}"
                yield Finding(DamageKind.TYPE, detail)
    for name in db.scalars(_INVALID):
        yield Finding(DamageKind.INDEX, f"index {name} is not valid", name=name)
    yield from check_counts(((text.read(name), *counts) for name, *counts in db.execute(MISCOUNTED)), shown)
    yield from check_failures(((text.read(name), index) for name, index in db.execute(STRAY)), shown)
    dimension, normalized = (held.dimension, bool(held.fields.get("normalize"))) if held else (None, False)
    yield from check_chunks(_chunks(db), dimension, normalized, look, shown)


def _chunks(db: Connection) -> Iterator[Held]:
    with db.cursor("embedmill_chunks", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        for name, index, digest, context, words, sent, precision in cursor:
            document = None if name is None else text.read(name)
            vector = None if sent is None else read_vector(sent)
            yield Held(document, index, digest, text.read(context), text.read(words), vector, precision)
