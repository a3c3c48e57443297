"""What may be wrong with a PostgreSQL store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.storage.integrity import (
    BROKEN_ENTRIES,
    MISCOUNTED,
    OF_NO_ROOT,
    ROWS,
    STRAY,
    Held,
    Shown,
    check_binding,
    check_chunks,
    check_counts,
    check_entries,
    check_failures,
    check_options,
    check_roots,
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
    SELECT d.name, c.idx, c.hash, c.context, c.text, c.vector, c.checksum, d.precision, c.attributes::text,
        c.start, c."end", c.line, c.end_line, c.tokens, c.page
    FROM chunks c LEFT JOIN documents d ON d.id = c.document
"""

NO_ROOT: Final = OF_NO_ROOT.format(number="substr(name, 1, greatest(strpos(name, '/') - 1, 0))")

_OF_NO_ROOT: Final = f"""
    SELECT name FROM (SELECT name FROM documents UNION SELECT document FROM failures) n WHERE {NO_ROOT} ORDER BY name
"""  # noqa: S608 - the condition above


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
    yield from check_failures(((text.read(name), *more) for name, *more in db.execute(STRAY)), shown)
    entries = db.execute(BROKEN_ENTRIES.format(more=""))
    yield from check_entries(((text.read(name), *more) for name, *more in entries), shown)
    yield from check_roots(map(text.read, db.scalars(_OF_NO_ROOT)), shown)
    given = db.execute("SELECT scope, options FROM given")
    yield from check_options(((text.read(scope), text.read(options)) for scope, options in given), shown)
    dimension, normalized = (held.dimension, bool(held.fields.get("normalize"))) if held else (None, False)
    yield from check_chunks(_chunks(db), dimension, normalized, look, shown)


def _chunks(db: Connection) -> Iterator[Held]:
    with db.cursor("embedmill_chunks", binary=True) as cursor:  # on the server: they do not fit into memory
        cursor.itersize = ROWS
        cursor.execute(_CHUNKS)
        for name, index, digest, context, words, sent, checksum, precision, attributes, *place in cursor:
            texts = _read(context), _read(words)
            vector = None if sent is None else read_vector(sent)
            yield Held(_read(name), index, digest, *texts, vector, checksum, precision, place, attributes)


def _read(stored: Any) -> Any:
    """A text as it was before it was stored; None where the column has none, though it should."""
    return None if stored is None else text.read(stored)
