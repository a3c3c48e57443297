"""Whether what a store holds is sound: the checks that every store shares.

A store hands over its rows as they lie there, with the names by which it knows documents; `Shown` makes ids of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import WRITTEN, StoredChunk, embedding_input, text_hash
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Space
from embedmill.core.vectors import Vector
from embedmill.engine.validation import VectorValidator
from embedmill.storage.checksums import is_altered
from embedmill.storage.written import read_options, stored_attributes

ROWS: Final = 1024
"""Rows checked at once: 1.5 MB of vectors of 384 numbers."""

MISCOUNTED: Final = """
    SELECT * FROM (
        SELECT d.name AS name, d.chunks AS noted, coalesce(r.n, 0) AS held, coalesce(r.different, 0) AS different,
            coalesce(r.different, 0) + coalesce(f.n, 0) AS known,
            CASE WHEN d.name LIKE '00/%' THEN coalesce(r.different, 0) + coalesce(f.n, 0) - 1  -- it may have gaps
                WHEN coalesce(f.last, -1) > coalesce(r.last, -1) THEN f.last ELSE coalesce(r.last, -1) END + 1
                AS expected,
            CASE WHEN d.name LIKE '00/%' THEN 0 ELSE coalesce(r.different - r.places, 0) END AS again
        FROM documents d
        LEFT JOIN (
            SELECT document, count(*) AS n, count(DISTINCT idx) AS different, max(idx) AS last,
                count(DISTINCT start) AS places
            FROM chunks WHERE idx >= 0 GROUP BY document
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
    WHERE held <> noted OR known <> expected OR different <> held OR again > 0
"""
"""The complete documents that are not whole: name, chunks that the ledger says, chunks that are there, different
indexes of these, indexes that have a chunk or a failure, how many should have, and how many begin where another one
does (those that users write may). SQLite and PostgreSQL both understand it."""

STRAY: Final = """
    SELECT f.document, f.idx, EXISTS (SELECT 1 FROM documents d WHERE d.complete AND d.name = f.document)
    FROM failures f
    WHERE f.idx >= 0 AND (
        NOT EXISTS (SELECT 1 FROM documents d WHERE d.complete AND d.name = f.document)
        OR EXISTS (
            SELECT 1 FROM documents d JOIN chunks c ON c.document = d.id
            WHERE d.complete AND d.name = f.document AND c.idx = f.idx
        )
    )
"""
"""Failures of chunks that are stored, or whose document is not in the ledger: name, index, whether it is there."""

PRECISIONS: Final = ("f32", "bf16")
"""What vectors may have been computed in."""

BROKEN_ENTRIES: Final = """
    SELECT name, size IS NULL OR mtime_ns IS NULL OR content_hash IS NULL OR recipe IS NULL, precision FROM documents
    WHERE complete AND (
        size IS NULL OR mtime_ns IS NULL OR content_hash IS NULL OR recipe IS NULL
        OR precision IS NULL OR precision NOT IN ('f32', 'bf16') {more}
    )
"""
"""Entries of the ledger that cannot be: name, whether something is missing, precision. `more`: a further condition."""

OF_NO_ROOT: Final = """
    (
        name = ''
        OR ltrim({number}, '0123456789') = '' AND {number} NOT IN ('', '0', '00')
        AND {number} NOT IN (SELECT CAST(id AS text) FROM roots)
    )
"""
"""Whether a name (see `embedmill.storage.roots`) is none, or that of a root which there is not; `number`: what stands
before its first slash, as an expression."""

NOT_CUT: Final = """
    SELECT name FROM documents d
    WHERE complete AND chunks = 0 AND size > 0 AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.document = d.name)
    ORDER BY name
"""
"""Documents with a content, and by the ledger with neither chunks nor failures: they are blank, or damaged."""

Shown = Callable[[str], str]
"""From the name by which a store knows a document to its id."""


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk as the store holds it, whatever its columns hold in truth; None for what is missing."""

    document: str | None  # its name
    index: int
    hash: bytes
    context: str
    text: str
    vector: Vector | None
    checksum: int | None  # of the vector (see `embedmill.storage.checksums`); None also where it was never kept
    precision: str | None
    place: Sequence[Any]  # start, end, line, end_line, tokens, page
    attributes: str | None = None  # as `embedmill.core.attributes` writes them


def check_binding(
    space: str | None, fields: Mapping[str, Any] | None, dimension: int | None, chunks: bool
) -> list[Finding]:
    """What is wrong with what the store is bound to; `chunks`: whether it has any."""
    return [Finding(DamageKind.BINDING, problem) for problem in _of_binding(space, fields, dimension, chunks)]


def _of_binding(
    space: str | None, fields: Mapping[str, Any] | None, dimension: int | None, chunks: bool
) -> Iterator[str]:
    if space is None or fields is None or dimension is None:
        if chunks:
            yield "the store holds chunks, but is bound to no space"
        return
    if not isinstance(dimension, int) or not isinstance(fields, dict):
        yield f"the store is bound to space {space}, whose dimension is {dimension!r}: no number, or no fields"
        return
    try:
        described = Space(**fields)
    except TypeError:
        yield f"the store is bound to space {space}, whose fields are not those of a space"
        return
    if described.id != space:
        yield f"the store is bound to space {space}, but its fields are those of {described.id}"
    if described.dimension != dimension:
        yield f"the store is bound to dimension {dimension}, but its space has {described.dimension}"


def check_counts(miscounted: Iterable[tuple[str, int, int, int, int, int, int]], shown: Shown) -> Iterator[Finding]:
    """What is wrong with these documents (see `MISCOUNTED`)."""
    for name, noted, held, different, known, expected, again in miscounted:

        def found(kind: DamageKind, detail: str, count: int = 1, name: str = name) -> Finding:
            return Finding(kind, detail, shown(name), name=name, count=count)

        if held != noted:
            yield found(DamageKind.COUNT, f"the ledger says {noted:,} chunks, and there are {held:,}")
        if different != held:
            twice = held - different
            yield found(DamageKind.CHUNK_DUPLICATE, f"{twice:,} of its chunks have the index of another", twice)
        if again:
            yield found(DamageKind.CHUNK_DUPLICATE, f"{again:,} of its chunks begin where another one does", again)
        if known != expected:
            missing = expected - known
            detail = f"{missing:,} of its {expected:,} chunks have neither a row nor a failure"
            yield found(DamageKind.CHUNK_MISSING, detail, missing)


def check_failures(stray: Iterable[tuple[str, int, bool]], shown: Shown) -> Iterator[Finding]:
    """What is wrong with these failures (see `STRAY`)."""
    for name, index, known in stray:
        why = "it is stored all the same" if known else "its document is not in the ledger"
        detail = f"it has a failure on record, and {why}"
        yield Finding(DamageKind.FAILURE_STRAY, detail, shown(name), index, name)


def check_entries(broken: Iterable[tuple[str, bool, str | None]], shown: Shown) -> Iterator[Finding]:
    """What is wrong with these entries of the ledger (see `BROKEN_ENTRIES`)."""
    for name, lacking, precision in broken:
        if lacking:
            detail = "its entry in the ledger lacks a size, a time, a hash or a recipe"
        elif precision not in PRECISIONS:
            detail = f"its entry in the ledger says that its vectors were computed in {precision!r}"
        else:
            detail = "its entry in the ledger is marked neither as complete nor as staged"
        yield Finding(DamageKind.LEDGER, detail, shown(name), name=name)


def check_roots(names: Iterable[str], shown: Shown) -> Iterator[Finding]:
    """What is wrong with documents and failures of these names, whose roots there are not (see `OF_NO_ROOT`)."""
    for name in names:
        root = f"belongs to root {name.partition('/')[0]}, which the store does not know" if name else "has no name"
        detail = f"it {root}: where it lies is lost"
        yield Finding(DamageKind.ROOT_MISSING, detail, shown(name), name=name)


def check_options(given: Iterable[tuple[str, str]], shown: Shown) -> Iterator[Finding]:
    """What is wrong with the options by which these scopes were taken."""
    for scope, written in given:
        if read_options(written) is None:
            detail = "the options by which it was taken are no JSON object"
            yield Finding(DamageKind.OPTIONS, detail, shown(scope), name=scope)


def check_chunks(
    chunks: Iterable[Held],
    dimension: int | None,
    normalized: bool,
    look: Callable[[StoredChunk], None],
    shown: Shown,
) -> Iterator[Finding]:
    """What is wrong with these chunks, each taken by itself; `look` is given those that nothing is wrong with."""
    left = iter(chunks)
    validator = VectorValidator(dimension, normalized) if isinstance(dimension, int) else None
    last, document = "", ""  # chunks of one document come together
    while some := list(islice(left, ROWS)):
        unsound = check_vectors(validator, [chunk.vector for chunk in some])
        for place, chunk in enumerate(some):
            if chunk.document != last:
                last = chunk.document if isinstance(chunk.document, str) else ""
                document = shown(last) if last else ""
            findings = list(_of_chunk(chunk, document, unsound.get(place), dimension))
            yield from findings
            if not findings and chunk.document is not None and chunk.vector is not None:
                given = embedding_input(chunk.context, chunk.text)
                look(StoredChunk(document, chunk.index, given, chunk.vector, str(chunk.precision), name=chunk.document))


def check_vectors(
    validator: VectorValidator | None, vectors: Sequence[Vector | None]
) -> dict[int, tuple[DamageKind, str]]:
    """Which of these that have the right dimension are refused: what damage that is, and what is wrong, for people."""
    if validator is None:
        return {}
    fit = {row: each for row, each in enumerate(vectors) if each is not None and each.shape == (validator.dimension,)}
    refused = validator.check(np.stack(list(fit.values()))) if fit else {}
    found = {row: refused[place] for place, row in enumerate(fit) if place in refused}
    return {row: (_kind(validator, fit[row]), f"its vector is unsound: {found[row].message}") for row in found}


def _kind(validator: VectorValidator, vector: Vector) -> DamageKind:
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.sqrt(vector @ vector))
    if not np.isfinite(length):
        return DamageKind.VECTOR_NOT_FINITE
    if length == 0:
        return DamageKind.VECTOR_ZERO
    off = validator.normalized and abs(length - 1) > validator.tolerance
    return DamageKind.VECTOR_LENGTH if off else DamageKind.VECTOR_CONSTANT


def _of_chunk(
    chunk: Held, document: str, unsound: tuple[DamageKind, str] | None, dimension: int | None
) -> Iterator[Finding]:
    """What is wrong with a chunk; `unsound`: what is with its vector's numbers."""
    name = chunk.document if isinstance(chunk.document, str) else ""
    index = chunk.index if isinstance(chunk.index, int) else None

    def found(kind: DamageKind, detail: str) -> Finding:
        return Finding(kind, detail, document, index, name)

    if chunk.document is None:
        yield found(DamageKind.CHUNK_ORPHAN, f"a chunk (index {chunk.index}) belongs to no document")
        return
    if any(not isinstance(value, str) for value in (chunk.document, chunk.context, chunk.text, chunk.precision)):
        yield found(DamageKind.TEXT, "its text, or its document's name, is no text")
        return
    if index is None or index < 0:
        yield found(DamageKind.CHUNK_INDEX, "its index is negative, or no number")
    is_text = text_hash(chunk.context, chunk.text) == chunk.hash
    if not is_text:
        yield found(DamageKind.TEXT, "its hash is not that of its text")
    elif misplaced := _misplaced(chunk):
        yield found(DamageKind.CHUNK_PLACE, misplaced)
    try:
        stored_attributes(chunk.attributes)
    except StoreError:
        yield found(DamageKind.ATTRIBUTES, "what it has of the user's own is not what was written")
    if chunk.vector is None:
        yield found(DamageKind.VECTOR_MISSING, "it has no vector")
    elif chunk.vector.shape != (dimension,):
        detail = f"its vector has {len(chunk.vector)} numbers, the store's have {dimension}"
        yield found(DamageKind.VECTOR_DIMENSION, detail)
    elif unsound is not None:
        yield found(*unsound)
    elif is_text and is_altered(chunk.checksum, chunk.hash, chunk.vector):
        yield found(DamageKind.VECTOR_ALTERED, "its vector is not the one that was written")


def _misplaced(chunk: Held) -> str:
    """What of a chunk's place in its document cannot be; "" where it can. Of what users write they say the place."""
    if any(not isinstance(number, int) for number in chunk.place):
        return "where it stands is no number"
    start, end, line, end_line, tokens, page = chunk.place
    if str(chunk.document).startswith(WRITTEN):
        return f"it is said to stand at {list(chunk.place)}" if min(chunk.place) < 0 else ""
    if start < 0 or end - start != len(chunk.text):
        return f"it has {len(chunk.text):,} characters, and is said to stand at characters {start:,} to {end:,}"
    if line < 1 or end_line != line + chunk.text.count("\n"):
        return f"it has {chunk.text.count(chr(10)) + 1:,} lines, and is said to stand at lines {line:,} to {end_line:,}"
    if tokens < 0 or page < 0:
        return f"it is said to have {tokens:,} tokens, and to stand on page {page:,}"
    return ""
