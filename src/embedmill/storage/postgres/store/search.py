"""Search in a PostgreSQL store: exact, or through an index of pgvector's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from embedmill.core.documents import Hit
from embedmill.core.vectors import Vector
from embedmill.storage.postgres import pgvector
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import text_of
from embedmill.storage.postgres.store import text
from embedmill.storage.scores import Score
from embedmill.storage.written import stored_attributes

from psycopg import sql  # isort: skip - after the module that says what to install

log = logging.getLogger(__name__)

_FEW: Final = 10_000
"""Chunks of the documents that fit up to which they are compared one by one."""

_FILTERED: Final = 10_000  # documents read at a time

_INDEX: Final = """
    SELECT EXISTS (
        SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE i.indrelid = 'chunks'::regclass AND a.amname = 'hnsw' AND i.indisvalid AND o.opcname = %s
    )
"""

_OPERATORS: Final[dict[Score, tuple[str, str, str]]] = {
    "dot": ("<#>", "vector_ip_ops", "-({})"),
    "cosine": ("<=>", "vector_cosine_ops", "1 - ({})"),
    "euclidean": ("<->", "vector_l2_ops", "-({})"),
}
"""pgvector's operator for each score, what an index has to be made for to serve it, and the score from its result."""


def search(
    db: Connection, query: Vector, k: int, score: Score, fits: Callable[[str], bool] | None, *, exact: bool
) -> list[Hit]:
    """The `k` visible chunks with the best score, best first; among equals the one stored earlier.

    `db` is in a transaction that sees one state throughout.
    """
    documents: list[int] | None = None
    approximate = not exact and is_indexed(db, score)
    if fits is not None:
        documents, chunks = _fitting(db, fits)
        approximate = approximate and chunks > _FEW
    if approximate:
        _configure(db, k)
        hits = _nearest(db, APPROXIMATE, score, query, k, documents)
        # The index stops looking when it has seen some 20,000 rows; too few of them may have fitted.
        if len(hits) == k:
            return hits
    return _nearest(db, EXACT, score, query, k, documents)


def is_indexed(db: Connection, score: Score) -> bool:
    """Whether there is an index that searches by this score can use."""
    return _can_index(db) and bool(db.scalar(_INDEX, [_OPERATORS[score][1]]))


def _can_index(db: Connection) -> bool:
    """Whether this pgvector can go on with an index until enough rows fit, which it does from 0.8 on."""
    version = db.scalar("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    return tuple(int(part) for part in version.split(".")[:2]) >= (0, 8)


def build_index(db: Connection, dimension: int, score: Score) -> bool:
    """Build the index where it pays and is not there yet; returns whether that was done. `db` is in a transaction."""
    chunks = db.scalar("SELECT coalesce(sum(chunks), 0) FROM documents WHERE complete")
    few = chunks <= pgvector.INDEX_WORTH_IT
    if few or dimension > pgvector.MOST_INDEXED["vector"] or not _can_index(db) or is_indexed(db, score):
        return False
    for _ in pgvector.index_attempts(db, int(chunks), dimension):
        try:
            with db.transaction():
                db.execute("DROP INDEX IF EXISTS chunks_by_vector")  # one for another score
                db.execute(f"CREATE INDEX chunks_by_vector ON chunks USING hnsw (vector {_OPERATORS[score][1]})")
                db.execute("ANALYZE documents, chunks")
        except pgvector.TOO_LITTLE_MEMORY as error:
            reason = error
        else:
            return True
    log.warning("no index for searches could be built (%s): they stay exact", " ".join(str(reason).split()))
    return False


def _configure(db: Connection, k: int) -> None:
    # Strict order goes on with the index until k rows fit, best first.
    db.set_local(**{"hnsw.ef_search": str(min(1000, max(40, 2 * k))), "hnsw.iterative_scan": "strict_order"})


def _fitting(db: Connection, fits: Callable[[str], bool]) -> tuple[list[int], int]:
    """The documents whose name fits, and how many chunks they have."""
    documents: list[int] = []
    total = 0
    with db.cursor("embedmill_documents") as cursor:  # on the server: the names of all do not fit into memory
        cursor.itersize = _FILTERED
        cursor.execute("SELECT id, name, chunks FROM documents WHERE complete AND chunks > 0")
        for number, name, chunks in cursor:
            if fits(text.read(name)):
                documents.append(number)
                total += chunks
    return documents, total


# The index serves no other order than that of its operator alone: by the score, which is its negative, is exact.
APPROXIMATE: Final = "ORDER BY c.vector {operator} {query}"
EXACT: Final = "ORDER BY score DESC, c.id"

_NEAREST: Final = """
    SELECT d.name, c.idx, c.start, c."end", c.line, c.end_line, n.score, c.text, c.context, c.page, c.attributes::text
    FROM (
        SELECT c.id, {score} AS score
        FROM chunks c JOIN documents d ON d.id = c.document AND d.complete
        WHERE {filter}
        {order}
        LIMIT {k}
    ) n JOIN chunks c ON c.id = n.id JOIN documents d ON d.id = c.document
    ORDER BY n.score DESC, c.id
"""


def composed(order: str, k: int, *, filtered: bool, score: Score = "dot") -> sql.Composed:
    """The statement that finds the nearest, with `query` and, where filtered, `documents` still to be given."""
    query = sql.SQL("%(query)s::vector")
    operator, _, result = _OPERATORS[score]
    compared = sql.SQL("c.vector {} {}").format(sql.SQL(operator), query)
    return sql.SQL(_NEAREST).format(
        score=sql.SQL(result).format(compared),
        order=sql.SQL(order).format(operator=sql.SQL(operator), query=query),
        filter=sql.SQL("c.document = ANY(%(documents)b::bigint[])" if filtered else "true"),
        k=sql.Literal(k),
    )


def _nearest(
    db: Connection, order: str, score: Score, query: Vector, k: int, documents: Sequence[int] | None
) -> list[Hit]:
    statement = composed(order, k, filtered=documents is not None, score=score)
    values = {"query": text_of(query), "documents": documents}
    return [
        Hit(
            *(text.read(name), index, start, end, line, last, found, text.read(words), text.read(context)),
            page or None,
            **stored_attributes(more),
        )
        for name, index, start, end, line, last, found, words, context, page, more in db.execute(statement, values)
    ]
