"""How well stored vectors answer a query, as the model's card says that its vectors are compared; the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedmill.core.vectors import Vector, Vectors

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

Score = Literal["dot", "cosine", "euclidean"]
"""The inner product; the cosine of the angle; the distance, negative: of all three, the larger is the better."""


def score_of(fields: Mapping[str, Any]) -> Score:
    """What a store sorts by, from the fields of its space.

    Where vectors are of length 1 the cosine is the inner product. Stores of earlier versions, which do not know the
    model's word, sort by that too, as they did.
    """
    similarity = fields.get("similarity")
    if similarity == "euclidean":
        return "euclidean"
    return "cosine" if similarity == "cosine" and not fields.get("normalize") else "dot"


def score_rows(vectors: NDArray[np.float32], query: Vector, score: Score) -> NDArray[np.float32]:
    """The score of each row of ``(n, dimension)``."""
    if score == "euclidean":
        difference = vectors - query
        return np.asarray(-np.sqrt(np.einsum("ij,ij->i", difference, difference)), np.float32)
    products = vectors @ query
    if score == "cosine":
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) * np.linalg.norm(query)
        products = products / np.maximum(lengths, np.float32(1e-12))
    return np.asarray(products, np.float32)


def finite(vector: Vector) -> Vector:
    """A query's vector, contiguous; raises `ValueError` for what is none, and where a number is not finite."""
    if np.asarray(vector).dtype.kind not in "fiu":
        raise ValueError(f"the query's vector is a {type(vector).__name__}: give an array of numbers")
    query = np.ascontiguousarray(vector, np.float32)
    if not np.isfinite(query).all():
        raise ValueError("the query's vector is not finite")
    return query


def check_shape(query: Vector, dimension: int) -> None:
    """Raise `ValueError` for a query's vector that is not of the store's dimension."""
    if query.shape != (dimension,):
        raise ValueError(f"the query's vector has shape {query.shape}, the store's have ({dimension},)")


class Block(NamedTuple):
    """Some rows to score."""

    chunks: Ids  # (n,)
    vectors: Vectors  # (n, dimension)
    mask: Mask | None = None  # (n,): only these rows count; None for all


class NotFinite(Exception):
    """A vector that is searched has NaN or infinite numbers."""


def nearest(blocks: Iterable[Block], query: Vector, k: int, score: Score = "dot") -> tuple[Ids, NDArray[np.float32]]:
    """Ids and scores of the `k` rows of the best score, best first; among equals the lower id.

    Raises `NotFinite` for a row that is not finite, which is never stored.
    """
    ids = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    lowest = -np.inf
    for chunks, vectors, mask in blocks:
        scored = score_rows(vectors, query, score)
        if not np.isfinite(scored.sum(dtype=np.float64)):
            raise NotFinite("a row is not finite")
        # Only a row that reaches the k-th best so far can matter: after the first blocks these are few.
        hopeful = scored >= lowest if mask is None else (scored >= lowest) & mask
        rows = np.flatnonzero(hopeful)
        if not len(rows):
            continue
        ids = np.concatenate([ids, chunks[rows]])
        scores = np.concatenate([scores, scored[rows]])
        if len(ids) >= k:
            best = _best(ids, scores, k)
            ids, scores = ids[best], scores[best]
            lowest = scores.min()
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


def _best(ids: Ids, scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Which `k` rows are the best, in no order."""
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > kth)
    equal = np.flatnonzero(scores == kth)
    return np.concatenate([above, equal[np.argsort(ids[equal])[: k - len(above)]]])
