"""How vectors lie to one another: the nearest of each, the directions they spread in, their places on a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.vectors import Vectors

_BLOCK: Final = 512  # rows compared with all others at once: 40 MB for 20,000
_WIDE: Final = 1024  # dimensions up to which the spread is computed from all rows
_ROWS: Final = 2048  # from which it is computed beyond


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest other vector of each of some."""

    rows: NDArray[np.intp]  # (n,): which were looked at
    nearest: NDArray[np.intp]  # (n,): the row of the nearest other one
    cosines: NDArray[np.float32]  # (n,): to that


@dataclass(frozen=True, slots=True)
class Spread:
    """The principal components of vectors (Pearson 1901), and all vectors on the plane of the first two."""

    shares: NDArray[np.float64]  # (k,): of the variance, falling; their sum is 1, or 0 where all vectors are the same
    points: NDArray[np.float32]  # (n, 2)

    def components_for(self, share: float) -> int:
        """How many components have so much of the variance."""
        return int(np.searchsorted(np.cumsum(self.shares), share - 1e-9) + 1) if self.shares.any() else 0


def nearest_neighbours(vectors: Vectors, rows: NDArray[np.intp]) -> Neighbours:
    """The nearest other vector, by the cosine, of each of these rows of `vectors` ``(n, dimension)``; n from 2 up."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest, cosines = np.empty(len(rows), np.intp), np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        asked = rows[first : first + _BLOCK]
        found = units[asked] @ units.T
        found[np.arange(len(asked)), asked] = -np.inf
        best = found.argmax(axis=1)
        nearest[first : first + _BLOCK] = best
        cosines[first : first + _BLOCK] = found[np.arange(len(asked)), best]
    return Neighbours(rows, nearest, cosines)


def spread(vectors: Vectors) -> Spread:
    """The principal components of ``(n, dimension)``, n from 1 up; of many wide vectors by the first 2,048 alone."""
    middle = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = vectors - middle
    if rows.shape[1] <= _WIDE:
        values, directions = np.linalg.eigh((rows.T @ rows).astype(np.float64) / len(rows))
        plane = directions[:, ::-1][:, :2]
    else:  # the same values from the products of rows with rows
        few = rows[:_ROWS]
        values, combined = np.linalg.eigh((few @ few.T).astype(np.float64) / len(few))
        plane = few.T @ combined[:, ::-1][:, :2]
        plane /= np.maximum(np.linalg.norm(plane, axis=0), np.finfo(np.float32).tiny)
    values = np.maximum(values[::-1], 0.0)
    total = values.sum()
    points = np.zeros((len(rows), 2), np.float32)
    points[:, : plane.shape[1]] = rows @ _signed(plane).astype(np.float32)
    return Spread(values / total if total > 0 else values, points)


def _signed(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The directions with their largest number positive: else they point either way, as the library likes."""
    largest = plane[np.abs(plane).argmax(axis=0), np.arange(plane.shape[1])]
    return plane * np.where(largest < 0, -1, 1)
