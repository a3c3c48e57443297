"""All that a PostgreSQL store holds, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from embedmill.core.documents import StoredChunk, embedding_input
from embedmill.storage.integrity import ROWS
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.store import text

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, c.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete
"""


def stored_chunks(db: Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    with db.cursor("embedmill_contents", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        for name, index, context, words, vector, precision, tokens, line in cursor:
            given = embedding_input(text.read(context), text.read(words))
            yield StoredChunk(text.read(name), index, given, read_vector(vector), precision, tokens, line)
