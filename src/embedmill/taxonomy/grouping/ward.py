"""Ward's clustering, by merging all pairs at once that are each other's nearest.

Ward's distance is reducible: two clusters that are each other's nearest neighbours stay so whatever else is merged, so
that the order of merges makes no difference to the tree (Bruynooghe 1978; Murtagh 1983). So a round merges a third of
what there is, in a few large operations of NumPy, which run beside those of other threads; the usual chain of
neighbours takes thousands of small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedmill.taxonomy.grouping.threads import Map

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_BLOCK: Final = 256  # clusters whose distances from all are computed at once, in one thread


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


def ward(vectors: NDArray[Any], weights: NDArray[Any] | None = None, side_by_side: Map = map) -> WardTree:
    """The tree of ``(points, dimension)`` vectors, each standing for as many as its weight; in quadratic time."""
    centres = np.array(vectors, np.float32)
    points = len(centres)
    sizes = np.ones(points, np.float32) if weights is None else np.array(weights, np.float32)
    members = np.arange(points)  # a point of each cluster
    lowest = np.zeros(points, np.float32)  # the height of each cluster's own merge
    merges: list[Indices] = []
    heights: list[Floats] = []
    while len(centres) > 1:
        nearest, distances = _nearest(centres, sizes, side_by_side)
        rows = np.arange(len(centres))
        first = rows[(nearest[nearest] == rows) & (rows < nearest)]
        if not len(first):  # rounding errors made a circle of nearest ones
            first = np.array([distances.argmin()])
        second = nearest[first]
        merges.append(np.stack([members[first], members[second]], axis=1))
        # A rounding error must not put a merge before those that it is made of.
        height = np.maximum(distances[first], np.maximum(lowest[first], lowest[second]))
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


def _nearest(centres: Floats, sizes: Floats, side_by_side: Map) -> tuple[Indices, Floats]:
    """Each cluster's nearest by Ward's distance, ``(n,)``, and that distance, ``(n,)``."""
    squares = np.einsum("ij,ij->i", centres, centres)
    inverse = 1 / sizes

    def block(begin: int) -> tuple[Indices, Floats]:
        own = slice(begin, begin + _BLOCK)
        found: Floats = centres[own] @ centres.T
        found *= -2
        found += squares
        found += squares[own, None]
        np.maximum(found, 0, out=found)
        found /= inverse + inverse[own, None]
        rows = np.arange(len(found))
        found[rows, rows + begin] = np.inf
        nearest = found.argmin(axis=1)
        return nearest, found[rows, nearest]

    blocks = list(side_by_side(block, range(0, len(centres), _BLOCK)))
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate([nearest for nearest, _ in blocks]), np.concatenate([distances for _, distances in blocks])
