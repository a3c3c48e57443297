"""A long list in small pieces of like vectors, by halving the largest again and again."""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np

from embedmill.taxonomy.grouping.ward import Floats, Indices

_ROUNDS: Final = 4  # of two-means, for a halving: more changes few points


def pieces(vectors: Floats, number: int) -> list[Indices]:
    """The rows of unit vectors, ``(n, dimension)``, in so many pieces, or fewer where rows are equal.

    The same for the same vectors, whatever machine threads there are: nothing is drawn by lot.
    """
    whole = np.arange(len(vectors))
    heap = [(-len(whole), 0, whole)]
    undivided: list[Indices] = []
    begun = 1
    while heap and len(heap) + len(undivided) < number:
        _, _, rows = heapq.heappop(heap)
        halves = _halves(vectors, rows)
        if len(halves) == 1:
            undivided.append(rows)
            continue
        for half in halves:
            heapq.heappush(heap, (-len(half), begun, half))
            begun += 1
    return sorted([*undivided, *(rows for _, _, rows in heap)], key=lambda rows: int(rows[0]))


def _halves(vectors: Floats, rows: Indices) -> list[Indices]:
    """Two parts by two-means, from the row that is farthest from the mean; one where all rows are equal."""
    held = vectors[rows]
    mean = held.mean(axis=0)
    one = held[int((held @ mean).argmin())]
    other = held[int((held @ one).argmin())]
    if np.array_equal(one, other):
        return [rows]
    for _ in range(_ROUNDS):
        nearer = held @ one >= held @ other
        if nearer.all() or not nearer.any():
            break
        one, other = _direction(held[nearer]), _direction(held[~nearer])
    nearer = held @ one >= held @ other
    if nearer.all() or not nearer.any():
        nearer = np.arange(len(rows)) < len(rows) // 2
    return [rows[nearer], rows[~nearer]]


def _direction(vectors: Floats) -> Floats:
    mean: Floats = vectors.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)
