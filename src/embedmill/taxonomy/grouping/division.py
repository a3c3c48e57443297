"""Which terms of a list belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.taxonomy.grouping.pieces import pieces
from embedmill.taxonomy.grouping.threads import Map
from embedmill.taxonomy.grouping.ward import Floats, Indices, ward

WHOLE: Final = 2048
"""Terms of which each is compared with each. A longer list is first divided into as many pieces
as half of that, which are clustered in place of its terms."""

_FACTOR: Final = 1.5  # times the square root of half the terms: the best number of groups (benchmarks/README.md)

_LEFT_OVER: Final = 20  # terms that fit nowhere, above which they are grouped once more, among themselves


@dataclass(frozen=True, slots=True)
class Group:
    """Terms that belong together."""

    rows: Indices
    """Of the list, in its order."""
    cohesion: float
    """The mean cosine of its terms with their centre, from -1 to 1."""
    nearest: Indices
    """Its rows, the nearest to the centre first, of equal ones the first of the list."""


@dataclass(frozen=True, slots=True)
class Division:
    """A list in groups, and what fits nowhere."""

    groups: list[Group]
    others: Indices


def divide(vectors: Floats, *, max_leaf: int, min_group: int, threshold: float, side_by_side: Map = map) -> Division:
    """Group the rows of unit vectors, ``(n, dimension)``, into at most `max_leaf` groups, in the order of first rows.

    A group of fewer than `min_group` rows is dissolved, and one of less cohesion than `threshold`, unless it has more
    than `max_leaf` and is divided in its turn. What is left over then is grouped once more, where it is much.
    `side_by_side` makes no difference to what comes out.
    """
    rows = np.arange(len(vectors))
    groups, others = _grouped(vectors, rows, max_leaf, min_group, threshold, side_by_side)
    if _LEFT_OVER < len(others) < len(rows):
        more, others = _grouped(vectors, others, max_leaf, min_group, threshold, side_by_side)
        groups += more
    return Division(sorted(groups, key=lambda group: int(group.rows[0])), others)


def _grouped(
    vectors: Floats, rows: Indices, max_leaf: int, min_group: int, threshold: float, side_by_side: Map
) -> tuple[list[Group], Indices]:
    most = min(max_leaf, max(2, round(_FACTOR * math.sqrt(len(rows) / 2))))
    labels = _labels(vectors[rows], most, side_by_side)
    groups: list[Group] = []
    others: list[Indices] = []
    measure = side_by_side if len(rows) > WHOLE else map
    for found in measure(lambda label: measured(vectors, rows[labels == label]), range(int(labels.max()) + 1)):
        if len(found.rows) < min_group or (len(found.rows) <= max_leaf and found.cohesion < threshold):
            others.append(found.rows)
        else:
            groups.append(found)
    return groups, np.sort(np.concatenate([rows[:0], *others]))


def measured(vectors: Floats, rows: Indices) -> Group:
    """The group of these rows."""
    held = vectors[rows]
    centre = held.mean(axis=0)
    nearness = held @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
    return Group(rows, float(nearness.mean()), rows[np.argsort(-nearness, kind="stable")])


def _labels(vectors: Floats, number: int, side_by_side: Map) -> Indices:
    if len(vectors) <= WHOLE:
        return ward(vectors, side_by_side=side_by_side).cut(number)
    parts = pieces(vectors, WHOLE // 2, side_by_side)
    centres = np.stack([vectors[part].mean(axis=0) for part in parts])
    clustered = ward(centres, np.array([len(part) for part in parts]), side_by_side).cut(number)
    labels = np.empty(len(vectors), np.intp)
    for part, label in zip(parts, clustered, strict=True):
        labels[part] = label
    return labels
