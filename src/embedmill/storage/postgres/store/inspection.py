"""What may be wrong with a PostgreSQL store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from embedmill.core.documents import StoredChunk
from embedmill.storage.integrity import MISCOUNTED, ROWS, Held, check_binding, check_chunks, check_counts
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.store import rows, text

_COLUMN: Final = """
    SELECT format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = 'chunks'::regclass AND attname = 'vector'
"""

_INVALID: Final = """
    SELECT indexrelid::regclass::text FROM pg_index
    WHERE indrelid = ANY('{meta, writer, seen, documents, chunks, failures}'::regclass[]) AND NOT indisvalid
"""

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.hash, c.context, c.text, c.vector, d.precision
    FROM chunks c LEFT JOIN documents d ON d.id = c.document
"""


def problems(
    db: Connection, look: Callable[[StoredChunk], None] = lambda _: None, shown: Callable[[str], str] = str
) -> Iterator[str]:
    """All that is wrong, a line each; `db` is in a transaction that sees one state throughout.

    `look` is given the sound chunks; `shown` gives what is shown of a document's name.
    """
    held = rows.bound(db)
    if held is None:
        yield from check_binding(None, None, None, rows.has_chunks(db))
    else:
        yield from check_binding(held.space, held.fields, held.dimension, rows.has_chunks(db))
        for (column,) in db.execute(_COLUMN):
            if column.rpartition(".")[2] != f"vector({held.dimension})":
                yield f"the store is bound to dimension {held.dimension}, but the column of vectors is a {column}"
    yield from (f"index {name} is not valid: drop it" for (name,) in db.execute(_INVALID))
    yield from check_counts((shown(text.read(name)), *counts) for name, *counts in db.execute(MISCOUNTED))
    dimension, normalized = (held.dimension, bool(held.fields.get("normalize"))) if held else (None, False)
    yield from check_chunks(_chunks(db, shown), dimension, normalized, look)


def _chunks(db: Connection, shown: Callable[[str], str]) -> Iterator[Held]:
    with db.cursor("embedmill_chunks", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        for name, index, digest, context, words, vector, precision in cursor:
            document = None if name is None else shown(text.read(name))
            yield Held(document, index, digest, text.read(context), text.read(words), read_vector(vector), precision)
