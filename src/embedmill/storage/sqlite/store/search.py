"""What a search of an SQLite store answers: the nearest chunks with their texts."""

from __future__ import annotations

import sqlite3
from typing import Final

import numpy as np

from embedmill.core.documents import Hit
from embedmill.core.vectors import Vector
from embedmill.storage.scores import Ids, Score, score_rows
from embedmill.storage.sqlite.store import rows
from embedmill.storage.sqlite.store.exact import ExactSearch
from embedmill.storage.sqlite.store.matrix import DamagedMatrix

_SCORE_TOLERANCE: Final = 1e-4
"""Sums of a few hundred float32 products in another order differ by some 1e-6."""

_CHUNKS: Final = """
    SELECT c.id, v.vector, d.name, c.idx, c.start, c."end", c.line, c.end_line, c.text, c.context, c.page
    FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id
    WHERE c.id IN ({})
"""


def hits(
    db: sqlite3.Connection, search: ExactSearch, query: Vector, k: int, score: Score, documents: Ids | None
) -> list[Hit]:
    """The nearest chunks, of these documents where they are given, scored again by the store's own vectors.

    Raises `DamagedMatrix` where the two scores do not agree.
    """
    scores = dict(search.nearest(db, query, k, score, documents))
    found = list(rows.select(db, _CHUNKS, scores))  # a cursor left half-way by an error would outlive the snapshot
    known: dict[int, Hit] = {}
    for chunk, blob, name, index, start, end, line, end_line, text, context, page in found:
        own = float(score_rows(np.frombuffer(blob, "<f4").reshape(1, -1), query, score)[0])
        if abs(own - scores[chunk]) > _SCORE_TOLERANCE * max(1.0, abs(own)):
            raise DamagedMatrix("a score is not that of the stored vector")
        known[chunk] = Hit(name, index, start, end, line, end_line, scores[chunk], text, context, page or None)
    if len(known) != len(scores):
        raise DamagedMatrix("it has rows that the store has not")
    return [known[chunk] for chunk in scores]
