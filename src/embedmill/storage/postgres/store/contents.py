"""All that a PostgreSQL store holds, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from embedmill.core.attributes import read_attributes
from embedmill.core.documents import Chunk, Provenance, StoredChunk, embedding_input
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.integrity import ROWS
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.store import text
from embedmill.storage.postgres.store.rows import bound

_CHUNKS: Final = """
    SELECT d.name, c.idx, c.context, c.text, c.vector, d.precision, c.tokens, c.line
    FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete
"""


_WHOLE: Final = """
    SELECT d.name, d.precision, c.idx, c.start, c."end", c.line, c.end_line, c.tokens, c.hash, c.context, c.text,
        c.page, c.attributes::text, c.vector
    FROM documents d JOIN chunks c ON c.document = d.id
    WHERE d.complete AND (%(names)b::text[] IS NULL OR d.name = ANY(%(names)b::text[]))
    ORDER BY d.name, c.idx
"""


def stored_chunks(db: Connection) -> Iterator[StoredChunk]:
    """The chunks of complete documents, by the documents' names; `db` is in a transaction."""
    with db.cursor("embedmill_contents", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        for name, index, context, words, vector, precision, tokens, line in cursor:
            given = embedding_input(text.read(context), text.read(words))
            yield StoredChunk(text.read(name), index, given, read_vector(vector), precision, tokens, line)


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
        for name, precision, index, start, end, line, last, tokens, key, context, words, page, more, vector in cursor:
            yield Chunk(
                text.read(words),
                text.read(name),
                chunk_index=index,
                token_count=tokens,
                context=text.read(context),
                start=start,
                end=end,
                line=line,
                end_line=last,
                page=page or None,
                embedding=read_vector(vector),
                provenance=Provenance(Fingerprint(space, precision), held.model, bytes(key)),
                **read_attributes(more),
            )
