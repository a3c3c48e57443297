"""All that an SQLite store holds, row by row."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from embedmill.core.documents import Chunk, Provenance, StoredChunk, embedding_input
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.sqlite.store.rows import facts, select
from embedmill.storage.written import stored_attributes

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, v.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id JOIN vectors v ON v.chunk = c.id
    WHERE d.complete
"""

_SAMPLED: Final = f"{_CHUNKS} AND c.id >= ? ORDER BY c.id LIMIT ?"

_OF_A_CHUNK: Final = 'c.idx, c.start, c."end", c.line, c.end_line, c.tokens, c.context, c.text, c.page, c.attributes'
"""The columns that `_chunk` takes."""

_WHOLE: Final = f"""
    SELECT d.name, d.precision, c.hash, v.vector, {_OF_A_CHUNK}
    FROM documents d JOIN chunks c ON c.document = d.id JOIN vectors v ON v.chunk = c.id
    WHERE d.complete {{}}
    ORDER BY d.name, c.idx
"""  # noqa: S608 - the columns above

_PAGE: Final = f"""
    SELECT {_OF_A_CHUNK} FROM chunks c JOIN documents d ON d.id = c.document
    WHERE d.complete AND d.name = ? AND c.idx > ? ORDER BY c.idx LIMIT ?
"""  # noqa: S608


def stored_chunks(db: sqlite3.Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    return itertools.starmap(_stored, db.execute(_CHUNKS))


def sampled_chunks(db: sqlite3.Connection, limit: int) -> list[StoredChunk]:
    """At most so many of them, chosen at random."""
    (chunks,) = db.execute("SELECT coalesce(sum(chunks), 0) FROM documents WHERE complete").fetchone()
    if chunks <= limit:
        return list(stored_chunks(db))
    (last,) = db.execute("SELECT max(id) FROM chunks").fetchone()
    found: dict[tuple[str, int], StoredChunk] = {}
    for first in random.sample(range(last + 1), min(limit, last + 1)):
        found |= {(row[0], row[1]): _stored(*row) for row in db.execute(_SAMPLED, (first, 1))}
    return list(found.values())


def _stored(
    name: str, index: int, context: str, text: str, blob: bytes, precision: str, tokens: int, line: int
) -> StoredChunk:
    vector = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
    return StoredChunk(name, index, embedding_input(context, text), vector, precision, tokens, line)


def chunks_of(db: sqlite3.Connection, document: str, after: int, limit: int) -> list[Chunk]:
    """A page of a complete document's chunks, without vectors, behind this index."""
    return [_chunk(document, row) for row in db.execute(_PAGE, (document, after, limit))]


def whole_chunks(db: sqlite3.Connection, names: Sequence[str] | None, fields: Mapping[str, Any]) -> Iterator[Chunk]:
    """The chunks of the complete documents of these names, None for all, by name and index; `db` is in a transaction.

    `fields` are those of the store's space.
    """
    ordered = None if names is None else sorted(set(names))
    found = (
        db.execute(_WHOLE.format("")) if ordered is None else select(db, _WHOLE.format("AND d.name IN ({})"), ordered)
    )
    model, space = facts(db).get("model", ""), None
    for name, precision, key, blob, *row in found:
        space = space or Space(**fields)
        vector = np.frombuffer(blob, "<f4").astype(np.float32)
        origin = Provenance(Fingerprint(space, precision), model, key)
        yield _chunk(name, row, embedding=vector, provenance=origin)


def _chunk(document: str, row: Sequence[Any], **made: Any) -> Chunk:
    index, start, end, line, end_line, tokens, context, text, page, more = row
    return Chunk(
        text,
        document,
        chunk_index=index,
        token_count=tokens,
        context=context,
        start=start,
        end=end,
        line=line,
        end_line=end_line,
        page=page or None,
        **stored_attributes(more),
        **made,
    )
