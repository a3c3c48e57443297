"""Ward's clustering, by merging all pairs at once that are each other's nearest.

Ward's distance is reducible: two clusters that are each other's nearest neighbours stay so whatever else is merged, so
that the order of merges makes no difference to the tree (Bruynooghe 1978; Murtagh 1983). So a round merges a third of
what there is, in a few large operations of NumPy, which run beside those of other threads; the usual chain of
neighbours takes thousands of small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class WardTree:
    """What was merged, in an order in which no merge comes before those that it needs."""

    points: int
    merges: Indices
    """``(points - 1, 2)``: a point of either cluster."""
    heights: Floats
    """``(points - 1,)``: by how much a merge raises the sum of squared distances to the centres; never falling."""

    def cut(self, groups: int) -> Indices:
        """A label for each point, ``(points,)``: of so many groups, or of all points where they are fewer."""
        parent = list(range(self.points))

        def root(point: int) -> int:
            while parent[point] != point:
                parent[point] = point = parent[parent[point]]
            return point

        for one, other in self.merges[: max(0, self.points - groups)].tolist():
            first, second = sorted((root(one), root(other)))
            parent[second] = first
        roots = np.array([root(point) for point in range(self.points)])
        return np.unique(roots, return_inverse=True)[1]


def ward(vectors: NDArray[Any], weights: NDArray[Any] | None = None) -> WardTree:
    """The tree of ``(points, dimension)`` vectors, each standing for as many as its weight; in quadratic time."""
    centres = np.array(vectors, np.float32)
    points = len(centres)
    sizes = np.ones(points, np.float32) if weights is None else np.array(weights, np.float32)
    members = np.arange(points)  # a point of each cluster
    lowest = np.zeros(points, np.float32)  # the height of each cluster's own merge
    merges: list[Indices] = []
    heights: list[Floats] = []
    while len(centres) > 1:
        distances = _distances(centres, sizes)
        nearest = distances.argmin(axis=1)
        rows = np.arange(len(centres))
        first = rows[(nearest[nearest] == rows) & (rows < nearest)]
        second = nearest[first]
        merges.append(np.stack([members[first], members[second]], axis=1))
        # A rounding error must not put a merge before those that it is made of.
        height = np.maximum(distances[first, second], np.maximum(lowest[first], lowest[second]))
        heights.append(height)
        together = sizes[first] + sizes[second]
        share = (sizes[first] / together)[:, None]
        centres[first] = share * centres[first] + (1 - share) * centres[second]
        sizes[first], lowest[first] = together, height
        kept = np.ones(len(centres), bool)
        kept[second] = False
        centres, sizes, members, lowest = centres[kept], sizes[kept], members[kept], lowest[kept]
    if not merges:
        return WardTree(points, np.empty((0, 2), np.intp), np.empty(0, np.float32))
    order = np.argsort(np.concatenate(heights), kind="stable")
    return WardTree(points, np.concatenate(merges)[order], np.concatenate(heights)[order])


def _distances(centres: Floats, sizes: Floats) -> Floats:
    """Ward's distances of clusters, ``(n, n)``, infinite on the diagonal, the same in both triangles."""
    squares = np.einsum("ij,ij->i", centres, centres)
    found: Floats = centres @ centres.T
    found *= -2
    found += squares
    found += squares[:, None]
    found += found.T.copy()  # the product's triangles may differ in the last bit
    np.maximum(found, 0, out=found)
    found *= sizes
    found *= sizes[:, None]
    found /= 2 * (sizes + sizes[:, None])
    np.fill_diagonal(found, np.inf)
    return found
