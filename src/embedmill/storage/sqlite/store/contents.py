"""All that an SQLite store holds, row by row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

import numpy as np

from embedmill.core.documents import StoredChunk, embedding_input

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, v.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id JOIN vectors v ON v.chunk = c.id
    WHERE d.complete
"""


def stored_chunks(db: sqlite3.Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    for name, index, context, text, blob, precision, tokens, line in db.execute(_CHUNKS):
        vector = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
        yield StoredChunk(name, index, embedding_input(context, text), vector, precision, tokens, line)
