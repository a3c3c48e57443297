"""A long list in small pieces of like vectors, by halving: halves know nothing of each other."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from embedmill.taxonomy.grouping.threads import Map
from embedmill.taxonomy.grouping.ward import Floats, Indices

_ROUNDS: Final = 4  # of two-means, for a halving: more changes few points
_SIDE_BY_SIDE: Final = 16  # parts that are divided each as one task: no fewer than threads, and none a trifle


class _Part(NamedTuple):
    rows: Indices
    number: int  # of pieces that it is to become


def pieces(vectors: Floats, number: int, side_by_side: Map = map) -> list[Indices]:
    """The rows of unit vectors, ``(n, dimension)``, in so many pieces, or fewer where rows are equal.

    A half has as many of the pieces as is its share of the rows. The same for the same vectors, whatever threads there
    are: nothing is drawn by lot.
    """
    parts = [_Part(np.arange(len(vectors)), number)]
    while parts and len(parts) < min(_SIDE_BY_SIDE, number):
        found = [half for halves in side_by_side(lambda part: _halves(vectors, part), parts) for half in halves]
        if len(found) == len(parts):
            break
        parts = found
    found_pieces = side_by_side(lambda part: _divided(vectors, part), parts)
    return sorted((rows for each in found_pieces for rows in each), key=lambda rows: int(rows[0]))


def _divided(vectors: Floats, part: _Part) -> list[Indices]:
    done: list[Indices] = []
    waiting = [part]
    while waiting:
        halves = _halves(vectors, waiting.pop())
        if len(halves) == 1:
            done.append(halves[0].rows)
        else:
            waiting += halves
    return done


def _halves(vectors: Floats, part: _Part) -> list[_Part]:
    """Two parts, by two-means from the row farthest from the mean; one where it is one piece, or all rows are equal."""
    rows, number = part
    if number == 1 or len(rows) == 1:
        return [_Part(rows, 1)]
    held = vectors[rows]
    total = held.sum(axis=0)
    one = held[int((held @ total).argmin())]
    other = held[int((held @ one).argmin())]
    if np.array_equal(one, other):
        return [_Part(rows, 1)]
    for _ in range(_ROUNDS):
        nearer = held @ (one - other) >= 0
        if nearer.all() or not nearer.any():
            break
        near = nearer.astype(np.float32) @ held
        one, other = _direction(near), _direction(total - near)
    nearer = held @ (one - other) >= 0
    if nearer.all() or not nearer.any():
        nearer = np.arange(len(rows)) < len(rows) // 2
    first = rows[nearer]
    share = min(max(1, round(number * len(first) / len(rows))), number - 1)
    return [_Part(first, share), _Part(rows[~nearer], number - share)]


def _direction(vector: Floats) -> Floats:
    return vector / max(float(np.sqrt(vector @ vector)), 1e-12)
