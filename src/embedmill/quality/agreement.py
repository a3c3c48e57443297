"""How far vectors of the same texts agree that were computed twice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.vectors import Vectors

TOLERANCE: Final = 0.999
"""The lowest cosine that still counts as the same vector. Over the 3,000 sentences of the STS benchmark's development
split the default model's vectors in bf16 have at the lowest a cosine of 0.99996 to those in f32 (benchmarks/README.md):
twenty times nearer than this. Vectors of a model quantised to int8 come down to 0.995, and are found."""

_PERCENTILES: Final = (1, 5, 50)


@dataclass(frozen=True, slots=True)
class Cosines:
    """The distribution of the cosines between two vectors of each text."""

    min: float
    p1: float  # the first percentile: one text in a hundred lies below
    p5: float
    median: float
    mean: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two computations of the same texts, compared text by text."""

    cosines: NDArray[np.float64]  # (texts,); NaN where one of the two has no vector
    apart: NDArray[np.bool_]  # (texts,): which count as other vectors

    @property
    def distribution(self) -> Cosines | None:
        """Of those texts that have two vectors; None where there are none."""
        known = self.cosines[np.isfinite(self.cosines)]
        if not known.size:
            return None
        p1, p5, median = np.percentile(known, _PERCENTILES).tolist()
        return Cosines(float(known.min()), p1, p5, median, float(known.mean()))


def compare(expected: Vectors, found: Vectors, tolerance: float = TOLERANCE) -> Agreement:
    """Compare ``(texts, dimension)`` vectors with others, row by row.

    Two count as other vectors where their cosine is below the tolerance t, or their lengths differ by more than
    sqrt(2 - 2 t): so far apart are vectors of length 1 with the cosine t, since ``|a - b|^2 = 2 - 2 cos(a, b)``. Where
    a model does not normalise, the length is part of what it says. NaN is another vector than any.
    """
    a, b = expected.astype(np.float64), found.astype(np.float64)
    lengths, others = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.clip(np.einsum("ij,ij->i", a, b) / (lengths * others), -1, 1)
        longer = np.abs(others / lengths - 1)
    same = (cosines >= tolerance) & (longer <= math.sqrt(2 - 2 * tolerance))
    return Agreement(cosines, ~same)
