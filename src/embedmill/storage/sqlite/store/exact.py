"""Exact search over what a store shows, as one snapshot of it does: the nearest chunks with their texts."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Final

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import Hit
from embedmill.core.errors import StoreError
from embedmill.core.vectors import Vector
from embedmill.storage.scores import Block, Ids, Mask, NotFinite, Score, nearest, score_rows
from embedmill.storage.sqlite.store.matrix import Copy, DamagedMatrix, Documents, Matrix, open_matrix, write_matrix
from embedmill.storage.sqlite.store.rows import select
from embedmill.storage.written import stored_attributes

log = logging.getLogger(__name__)

STRAY_ROWS: Final = 2048
STRAY_SHARE: Final = 1 / 16
STRAY_LIMIT: Final = 16_384
"""Rows that may be missing in the matrix before it is written anew: at least, as a share, and at most. They
are read from the database, about 1 microsecond a row, once for as long as the store stays the same;
writing costs as much for every row of the matrix, and a sync."""

READ_ROWS: Final = 1024
"""Rows read from the database at a time: 1.5 MB of vectors of 384 numbers."""

COPIED_ROWS: Final = 16_384
"""Rows copied between two looks at whether the run is stopped: 25 MB of vectors of 384 numbers."""

_VISIBLE: Final = "SELECT id, uid, chunks FROM documents WHERE complete ORDER BY id"

_ROWS: Final = """
    SELECT c.document, c.id, v.vector
    FROM documents d CROSS JOIN chunks c ON c.document = d.id CROSS JOIN vectors v ON v.chunk = c.id
    WHERE d.complete AND d.id BETWEEN ? AND ?
    ORDER BY d.id, c.idx
"""

_SCORE_TOLERANCE: Final = 1e-4
"""Sums of a few hundred float32 products in another order differ by some 1e-6."""

_CHUNKS: Final = """
    SELECT c.id, v.vector, d.name, c.idx, c.start, c."end", c.line, c.end_line, c.text, c.context, c.page,
        c.attributes
    FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id
    WHERE c.id IN ({})
"""

_NAMED: Final = "SELECT d.name, c.idx FROM chunks c JOIN documents d ON d.id = c.document WHERE c.id IN ({})"

_TOLD: Final = 1000  # chunks whose vectors differ, one by one

Ranges = Sequence[tuple[int, int]]
"""Ids of documents, first and last, with nothing between them that is not meant."""


@dataclass(frozen=True)
class _View:
    """What one generation shows: documents of the matrix, and those it does not have (the strays)."""

    generation: bytes
    matrix: Matrix | None
    live: Mask | None = None  # which documents of the matrix are still there; None for all
    strays: Ranges = ()
    held: Sequence[tuple[Ids, Block]] | None = ()  # the strays' rows (see `_read`); None for too many to hold


class ExactSearch:
    """Keeps the matrix mapped from one search to the next.

    Every call is given a connection in a read transaction: what that shows is what is searched, whatever is
    written meanwhile.
    """

    def __init__(self, matrix: Path) -> None:
        self.path = matrix
        self.written = 0  # how often a matrix was
        self._view: _View | None = None
        self._cannot_write = False

    def hits(
        self, connection: sqlite3.Connection, query: Vector, k: int, score: Score, documents: Ids | None
    ) -> list[Hit]:
        """The nearest chunks, of these documents (in ascending order) where they are given, best first.

        They are scored again by the store's own vectors. Raises `DamagedMatrix` where the two scores do not agree.
        """
        scores = self._nearest(connection, query, k, score, documents)
        # All of them: a cursor left half-way by an error would outlive the snapshot.
        found = list(select(connection, _CHUNKS, scores))
        known: dict[int, Hit] = {}
        for chunk, blob, name, index, start, end, line, end_line, text, context, page, own_fields in found:
            own = float(score_rows(np.frombuffer(blob, "<f4").reshape(1, -1), query, score)[0])
            if abs(own - scores[chunk]) > _SCORE_TOLERANCE * max(1.0, abs(own)):
                raise DamagedMatrix("a score is not that of the stored vector")
            place = name, index, start, end, line, end_line
            more = stored_attributes(own_fields)
            known[chunk] = Hit(*place, scores[chunk], text, context, page or None, **more)
        if len(known) != len(scores):
            raise DamagedMatrix("it has rows that the store has not")
        return [known[chunk] for chunk in scores]

    def _nearest(
        self, connection: sqlite3.Connection, query: Vector, k: int, score: Score, documents: Ids | None
    ) -> dict[int, float]:
        """Chunk ids with their scores, best first."""
        view = self.prepare(connection, len(query))
        strays = _read(connection, view.strays, len(query)) if view.held is None else view.held
        blocks = (_only(documents, owners, block) for owners, block in strays)
        try:
            ids, scores = nearest(chain(_of_matrix(view, documents), blocks), query, k, score)
        except NotFinite as error:
            raise DamagedMatrix(str(error)) from error
        return dict(zip(ids.tolist(), scores.tolist(), strict=True))

    def prepare(
        self, connection: sqlite3.Connection, dimension: int, go_on: Callable[[], object] = lambda: None
    ) -> _View:
        """Bring the matrix up to date where that pays; what a search does first.

        `go_on` is called now and then while the matrix is written; what it raises ends that.
        """
        (generation,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        if self._view is None or self._view.generation != generation:
            self.close()
            matrix = open_matrix(self.path, dimension)
            if matrix is not None and matrix.generation == generation:
                self._view = _View(generation, matrix)
            else:
                self._view = self._caught_up(connection, generation, matrix, dimension, go_on)
        return self._view

    def has_matrix(self, dimension: int) -> bool:
        """Whether there is a matrix that the next search begins with."""
        matrix = open_matrix(self.path, dimension)
        if matrix is not None:
            matrix.close()
        return matrix is not None

    def discard(self) -> None:
        """Remove a damaged matrix; the next search makes it anew."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the matrix; the next search maps it again."""
        if self._view is not None and self._view.matrix is not None:
            self._view.matrix.close()
        self._view = None

    def _caught_up(
        self,
        connection: sqlite3.Connection,
        generation: bytes,
        matrix: Matrix | None,
        dimension: int,
        go_on: Callable[[], object],
    ) -> _View:
        """The view of a store that has changed since the matrix was written."""
        visible: Documents = np.fromiter(connection.execute(_VISIBLE), np.dtype((np.int64, 3)))
        kept, at = _find(visible, matrix)
        rows, missing = int(visible[:, 2].sum()), int(visible[~kept, 2].sum())
        dead = 0 if matrix is None else len(matrix) - (rows - missing)
        few = missing <= min(max(STRAY_ROWS, rows * STRAY_SHARE), STRAY_LIMIT) and dead <= max(rows, STRAY_ROWS)
        if not few and not self._cannot_write:
            try:
                # Closed even on an error: a cursor left half-way would keep the file open.
                with closing(_parts(connection, matrix, visible, kept, at, dimension, go_on)) as parts:
                    write_matrix(self.path, generation, dimension, visible, parts)
                self.written += 1
                written = Matrix(self.path)
            except OSError as error:
                self._cannot_write = True  # not tried again by this store, nor told again
                log.warning("cannot write %s (%s): searches take longer without it", self.path, str(error))
            except ValueError as error:
                raise StoreError(f"{self.path}: the store is damaged ({error}): index into a new --store") from error
            else:
                if matrix is not None:
                    matrix.close()
                if written.generation == generation:
                    return _View(generation, written)
                matrix = written  # another process has replaced it since
                kept, at = _find(visible, matrix)
                missing = int(visible[~kept, 2].sum())
        live = None
        if matrix is not None:
            live = np.zeros(len(matrix.documents), np.bool_)
            live[at[kept]] = True
        strays = [(int(visible[a, 0]), int(visible[b - 1, 0])) for a, b in _runs(kept, at) if not kept[a]]
        held = list(_read(connection, strays, dimension)) if missing <= STRAY_LIMIT else None
        return _View(generation, matrix, live, strays, held)


def disagreements(
    connection: sqlite3.Connection, path: Path, generation: bytes, dimension: int, shown: Callable[[str], str]
) -> Iterator[Finding]:
    """Where a matrix that is taken for current is not what the store holds; either may be the one that is wrong.

    One that is not whole is told too, though no search takes it.
    """
    try:
        matrix = Matrix(path)
    except OSError:  # there is none, or none that a search could read
        return
    except ValueError as error:
        yield Finding(DamageKind.MATRIX, f"{path}: it is cut short, or its head is damaged ({error})")
        return
    try:
        if matrix.generation != generation or matrix.dimension != dimension:
            return
        visible: Documents = np.fromiter(connection.execute(_VISIBLE), np.dtype((np.int64, 3)))
        if not np.array_equal(visible, matrix.documents):
            yield Finding(DamageKind.MATRIX, f"{path}: it has other documents than the store")
            return
        first, told, differing = 0, 0, 0
        for _, block in _read(
            connection, [(int(visible[0, 0]), int(visible[-1, 0]))] if len(visible) else [], dimension
        ):
            part = slice(first, first + len(block.chunks))
            first = part.stop
            if not np.array_equal(block.chunks, matrix.chunks[part]):
                yield Finding(DamageKind.MATRIX, f"{path}: it has other chunks than the store")
                return
            # By their bits: of NaN too each is equal to itself.
            same = block.vectors.view(np.uint32) == np.ascontiguousarray(matrix.vectors[part]).view(np.uint32)
            unlike = block.chunks[~same.all(axis=1)].tolist()
            differing += len(unlike)
            for name, index in select(connection, _NAMED, unlike[: _TOLD - told]):
                told += 1
                yield Finding(
                    DamageKind.MATRIX, f"{path} has another vector of it than the store", shown(name), index, name
                )
        if differing > told:
            more = differing - told
            yield Finding(DamageKind.MATRIX, f"{path}: it has other vectors of {more:,} further chunks", count=more)
    finally:
        matrix.close()


def _find(visible: Documents, matrix: Matrix | None) -> tuple[Mask, Ids]:
    """Which of the documents the matrix has, in this very version, and at which place among its documents."""
    if matrix is None or not len(matrix.documents):
        return np.zeros(len(visible), np.bool_), np.zeros(len(visible), np.int64)
    at = np.searchsorted(matrix.documents[:, 0], visible[:, 0])
    at[at == len(matrix.documents)] = 0
    return (matrix.documents[at] == visible).all(axis=1), at


def _runs(kept: Mask, at: Ids) -> Iterator[tuple[int, int]]:
    """Cut the documents into runs (first, last + 1) that are missing, or stand together in the matrix."""
    if len(kept):
        together = np.where(kept[1:], kept[:-1] & (np.diff(at) == 1), ~kept[:-1])
        yield from pairwise([0, *(np.flatnonzero(~together) + 1).tolist(), len(kept)])


def _parts(
    connection: sqlite3.Connection,
    matrix: Matrix | None,
    visible: Documents,
    kept: Mask,
    at: Ids,
    dimension: int,
    go_on: Callable[[], object],
) -> Generator[Block | Copy]:
    """The rows of a new matrix: those the old one has are copied from it, only the others read."""
    first_rows = np.empty(0, np.int64) if matrix is None else matrix.first_rows
    for a, b in _runs(kept, at):
        if matrix is not None and kept[a]:
            first, last = int(first_rows[at[a]]), int(first_rows[at[b - 1] + 1])
            for some in range(first, last, COPIED_ROWS):
                go_on()
                rows = slice(some, min(some + COPIED_ROWS, last))
                yield Copy(matrix.file, rows.start, rows.stop, matrix.chunks[rows])
        else:
            ids = [(int(visible[a, 0]), int(visible[b - 1, 0]))]
            for _, block in _read(connection, ids, dimension):
                go_on()
                yield block


def _read(connection: sqlite3.Connection, ranges: Ranges, dimension: int) -> Iterator[tuple[Ids, Block]]:
    """The documents' rows from the database, in blocks: the document of each row, and the rows."""
    rows = chain.from_iterable(connection.execute(_ROWS, ids) for ids in ranges)
    while batch := list(islice(rows, READ_ROWS)):
        owners, chunks, vectors = zip(*batch, strict=True)
        numbers = np.frombuffer(b"".join(vectors), "<f4").astype(np.float32, copy=False)
        if numbers.size != len(batch) * dimension:
            raise StoreError("the store is damaged (vectors of another dimension): index into a new --store")
        yield np.array(owners, np.int64), Block(np.array(chunks, np.int64), numbers.reshape(-1, dimension))


def _of_matrix(view: _View, documents: Ids | None) -> Iterable[Block]:
    if view.matrix is None:
        return ()
    wanted = view.live
    if documents is not None:
        listed = _listed(documents, view.matrix.documents[:, 0])
        wanted = listed if wanted is None else listed & wanted
    return view.matrix.blocks(None if wanted is None else np.repeat(wanted, view.matrix.documents[:, 2]))


def _only(documents: Ids | None, owners: Ids, block: Block) -> Block:
    return block if documents is None else block._replace(mask=_listed(documents, owners))


def _listed(documents: Ids, ids: Ids) -> Mask:
    if not len(documents):
        return np.zeros(len(ids), np.bool_)
    at = np.searchsorted(documents, ids)
    at[at == len(documents)] = 0
    listed: Mask = documents[at] == ids
    return listed
