"""Whether what a store holds is sound: the checks that every store shares.

A store hands over its rows as they lie there; what is wrong with them is told in lines for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from embedmill.core.documents import StoredChunk, embedding_input, text_hash
from embedmill.core.spaces import Space
from embedmill.core.vectors import Vector
from embedmill.engine.validation import VectorValidator

ROWS: Final = 1024
"""Rows checked at once: 1.5 MB of vectors of 384 numbers."""

MISCOUNTED: Final = """
    SELECT * FROM (
        SELECT d.name AS name, d.chunks AS noted, coalesce(r.n, 0) AS held,
            coalesce(r.n, 0) + coalesce(f.n, 0) AS known,
            CASE WHEN coalesce(f.last, -1) > coalesce(r.last, -1) THEN f.last ELSE coalesce(r.last, -1) END + 1
                AS expected
        FROM documents d
        LEFT JOIN (
            SELECT document, count(*) AS n, max(idx) AS last FROM chunks WHERE idx >= 0 GROUP BY document
        ) r ON r.document = d.id
        LEFT JOIN (
            SELECT document, count(*) AS n, max(idx) AS last FROM failures
            WHERE idx >= 0 AND NOT EXISTS (
                SELECT 1 FROM documents o JOIN chunks c ON c.document = o.id
                WHERE o.complete AND o.name = failures.document AND c.idx = failures.idx
            )
            GROUP BY document
        ) f ON f.document = d.name
        WHERE d.complete
    ) counted
    WHERE held <> noted OR known <> expected
"""
"""The complete documents that are not whole: name, chunks that the ledger says, chunks that are there, indexes
that have a chunk or a failure, and how many should have. SQLite and PostgreSQL both understand it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk as the store holds it, whatever its columns hold in truth; None for what is missing."""

    document: str | None
    index: int
    hash: bytes
    context: str
    text: str
    vector: Vector | None
    precision: str | None


def check_binding(
    space: str | None, fields: Mapping[str, Any] | None, dimension: int | None, chunks: bool
) -> list[str]:
    """What is wrong with what the store is bound to; `chunks`: whether it has any."""
    if space is None or fields is None or dimension is None:
        return ["the store holds chunks, but is bound to no space"] if chunks else []
    if not isinstance(dimension, int) or not isinstance(fields, dict):
        return [f"the store is bound to space {space}, whose dimension is {dimension!r}: no number, or no fields"]
    try:
        described = Space(**fields)
    except TypeError:
        return [f"the store is bound to space {space}, whose fields are not those of a space"]
    problems = []
    if described.id != space:
        problems.append(f"the store is bound to space {space}, but its fields are those of {described.id}")
    if described.dimension != dimension:
        problems.append(f"the store is bound to dimension {dimension}, but its space has {described.dimension}")
    return problems


def check_counts(miscounted: Iterable[tuple[str, int, int, int, int]]) -> Iterator[str]:
    """What is wrong with these documents (see `MISCOUNTED`)."""
    for name, noted, held, known, expected in miscounted:
        if held != noted:
            yield f"{_named(name)}: the ledger says {noted:,} chunks, and there are {held:,}"
        if known != expected:
            yield f"{_named(name)}: {expected - known:,} of its {expected:,} chunks have neither a row nor a failure"


def check_chunks(
    chunks: Iterable[Held], dimension: int | None, normalized: bool, look: Callable[[StoredChunk], None]
) -> Iterator[str]:
    """What is wrong with these chunks, each taken by itself; `look` is given those that nothing is wrong with."""
    left = iter(chunks)
    while some := list(islice(left, ROWS)):
        fit = [chunk for chunk in some if chunk.vector is not None and chunk.vector.shape == (dimension,)]
        causes = {}
        if fit and dimension is not None:
            vectors = np.stack([chunk.vector for chunk in fit if chunk.vector is not None])
            refused = VectorValidator(dimension, normalized).check(vectors)
            causes = {id(fit[row]): cause.message for row, cause in refused.items()}
        for chunk in some:
            problems = list(_of_chunk(chunk, causes.get(id(chunk)), dimension))
            yield from problems
            if not problems and chunk.document is not None and chunk.vector is not None:
                given = embedding_input(chunk.context, chunk.text)
                look(StoredChunk(chunk.document, chunk.index, given, chunk.vector, str(chunk.precision)))


def _of_chunk(chunk: Held, cause: str | None, dimension: int | None) -> Iterator[str]:
    """What is wrong with a chunk; `cause`: what is with its vector's numbers."""
    if chunk.document is None:
        yield f"a chunk (index {chunk.index}) belongs to no document"
        where = "a chunk"
    else:
        where = f"{_named(chunk.document)}: chunk {chunk.index}"
    if any(not isinstance(value, str) for value in (chunk.document or "", chunk.context, chunk.text, chunk.precision)):
        yield f"{where}: its text, or its document's name, is no text"
        return
    if not isinstance(chunk.index, int) or chunk.index < 0:
        yield f"{where}: its index is negative, or no number"
    if text_hash(chunk.context, chunk.text) != chunk.hash:
        yield f"{where}: its hash is not that of its text"
    if chunk.vector is None:
        yield f"{where}: it has no vector"
    elif chunk.vector.shape != (dimension,):
        yield f"{where}: its vector has {len(chunk.vector)} numbers, the store's have {dimension}"
    elif cause is not None:
        yield f"{where}: its vector is unsound: {cause}"


def _named(document: object) -> str:
    """A name on one line."""
    return document if isinstance(document, str) and document.isprintable() else repr(document)
