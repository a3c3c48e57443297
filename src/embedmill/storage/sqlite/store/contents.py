"""All that an SQLite store holds, row by row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from embedmill.core.attributes import read_attributes
from embedmill.core.documents import Chunk, Provenance, StoredChunk, embedding_input
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.sqlite.store.rows import facts, select

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, v.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id JOIN vectors v ON v.chunk = c.id
    WHERE d.complete
"""


_WHOLE: Final = """
    SELECT d.name, d.precision, c.idx, c.start, c."end", c.line, c.end_line, c.tokens, c.hash, c.context, c.text,
        c.page, c.attributes, v.vector
    FROM documents d JOIN chunks c ON c.document = d.id JOIN vectors v ON v.chunk = c.id
    WHERE d.complete {}
    ORDER BY d.name, c.idx
"""


def stored_chunks(db: sqlite3.Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    for name, index, context, text, blob, precision, tokens, line in db.execute(_CHUNKS):
        vector = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
        yield StoredChunk(name, index, embedding_input(context, text), vector, precision, tokens, line)


def whole_chunks(db: sqlite3.Connection, names: Sequence[str] | None, fields: Mapping[str, Any]) -> Iterator[Chunk]:
    """The chunks of the complete documents of these names, None for all, by name and index; `db` is in a transaction.

    `fields` are those of the store's space.
    """
    ordered = None if names is None else sorted(set(names))
    found = (
        db.execute(_WHOLE.format("")) if ordered is None else select(db, _WHOLE.format("AND d.name IN ({})"), ordered)
    )
    model, space = facts(db).get("model", ""), None
    for name, precision, index, start, end, line, end_line, tokens, key, context, text, page, more, blob in found:
        space = space or Space(**fields)
        yield Chunk(
            text,
            name,
            chunk_index=index,
            token_count=tokens,
            context=context,
            start=start,
            end=end,
            line=line,
            end_line=end_line,
            page=page or None,
            embedding=np.frombuffer(blob, "<f4").astype(np.float32),
            provenance=Provenance(Fingerprint(space, precision), model, key),
            **read_attributes(more),
        )
