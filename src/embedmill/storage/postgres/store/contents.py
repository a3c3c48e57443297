"""All that a PostgreSQL store holds, row by row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from embedmill.core.documents import Chunk, Provenance, StoredChunk, embedding_input
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.integrity import ROWS
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.store import text
from embedmill.storage.postgres.store.rows import bound
from embedmill.storage.written import stored_attributes

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, c.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete
"""

_SAMPLED: Final = f"{_CHUNKS} AND c.id >= %s ORDER BY c.id LIMIT 1"

_OF_A_CHUNK: Final = (
    'c.idx, c.start, c."end", c.line, c.end_line, c.tokens, c.context, c.text, c.page, c.attributes::text'
)
"""The columns that `_chunk` takes."""

_WHOLE: Final = f"""
    SELECT d.name, d.precision, c.hash, c.vector, {_OF_A_CHUNK}
    FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete AND (%(names)b::text[] IS NULL OR d.name = ANY(%(names)b::text[]))
    ORDER BY d.name, c.idx
"""  # noqa: S608 - the columns above

_PAGE: Final = f"""
    SELECT {_OF_A_CHUNK} FROM chunks c JOIN documents d ON d.id = c.document
    WHERE d.complete AND d.name = %s AND c.idx > %s ORDER BY c.idx LIMIT %s
"""  # noqa: S608


def stored_chunks(db: Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    with db.cursor("embedmill_contents", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        yield from itertools.starmap(_stored, cursor)


def sampled_chunks(db: Connection, limit: int) -> list[StoredChunk]:
    """At most so many of them, chosen at random."""
    if db.scalar("SELECT coalesce(sum(chunks), 0)::bigint FROM documents WHERE complete") <= limit:
        return list(itertools.starmap(_stored, db.execute(_CHUNKS, binary=True)))
    last = db.scalar("SELECT max(id) FROM chunks")
    found: dict[tuple[str, int], StoredChunk] = {}
    for first in random.sample(range(last + 1), min(limit, last + 1)):
        found |= {(row[0], row[1]): _stored(*row) for row in db.execute(_SAMPLED, [first], binary=True)}
    return list(found.values())


def _stored(
    name: str, index: int, context: str, words: str, vector: bytes, precision: str, tokens: int, line: int
) -> StoredChunk:
    given = embedding_input(text.read(context), text.read(words))
    return StoredChunk(text.read(name), index, given, read_vector(vector), precision, tokens, line)


def chunks_of(db: Connection, document: str, after: int, limit: int) -> list[Chunk]:
    """A page of a complete document's chunks, without vectors, behind this index."""
    return [_chunk(document, row) for row in db.execute(_PAGE, [text.write(document), after, limit])]


def whole_chunks(db: Connection, names: Sequence[str] | None) -> Iterator[Chunk]:
    """The chunks of complete documents of these names, None for all, by name and index; `db` is in a transaction."""
    held = bound(db)
    if held is None:
        return
    space = Space(**held.fields)
    written = None if names is None else [text.write(name) for name in names]
    with db.cursor("embedmill_whole", binary=True) as cursor:
        cursor.itersize = ROWS
        cursor.execute(_WHOLE, {"names": written})
        for name, precision, key, vector, *row in cursor:
            origin = Provenance(Fingerprint(space, precision), held.model, bytes(key))
            yield _chunk(text.read(name), row, embedding=read_vector(vector), provenance=origin)


def _chunk(document: str, row: Sequence[Any], **made: Any) -> Chunk:
    index, start, end, line, end_line, tokens, context, words, page, more = row
    return Chunk(
        text.read(words),
        document,
        chunk_index=index,
        token_count=tokens,
        context=text.read(context),
        start=start,
        end=end,
        line=line,
        end_line=end_line,
        page=page or None,
        **stored_attributes(more),
        **made,
    )
