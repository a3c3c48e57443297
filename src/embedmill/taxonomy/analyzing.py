"""The shape of a tree, and which limits suit it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from embedmill.taxonomy.tree import Branch, below

_LONGEST_USUAL: Final = 90  # percent of the lists that are no longer than a limit that suits them


@dataclass(frozen=True, slots=True)
class Shape:
    """A tree in numbers."""

    terms: int
    distinct: int
    branches: int
    """Without the root."""
    depth: int
    """Branches on the longest way from below the root down."""
    lists: int
    """Branches with terms directly below."""
    shortest: int
    median: float
    longest: int
    """Terms of a list."""
    mixed: int
    """Branches with terms and sub-branches side by side."""
    max_leaf: int
    """The limit that 9 of 10 lists keep; at least 2."""
    min_leaf: int
    """The limit that 9 of 10 lists reach; at least 1."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def shape_of(root: Branch) -> Shape:
    """Measure a tree."""
    counts = root.term_counts()
    walked = list(below(root))
    lengths = [len(branch.terms) for _, branch in walked if branch.terms]
    held = np.array(lengths or [0])
    return Shape(
        terms=counts.total(),
        distinct=len(counts),
        branches=len(walked) - 1,
        depth=max(len(path) for path, _ in walked),
        lists=len(lengths),
        shortest=int(held.min()),
        median=float(np.median(held)),
        longest=int(held.max()),
        mixed=sum(bool(branch.terms and branch.branches) for _, branch in walked),
        max_leaf=max(2, int(np.percentile(held, _LONGEST_USUAL, method="higher"))),
        min_leaf=max(1, int(np.percentile(held, 100 - _LONGEST_USUAL, method="lower"))),
    )
