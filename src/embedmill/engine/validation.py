"""Whether vectors are fit to be stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedmill.core.vectors import Cause, Vectors

_UNIT_TOLERANCE = 1e-2
"""How far a normalised vector's length may be from 1: bf16 keeps 8 bits, so 2^-8 and some slack."""


@dataclass(frozen=True, slots=True)
class EmbeddingValidator:
    """Checks vectors of one space."""

    dimension: int
    normalized: bool

    def check(self, vectors: Vectors) -> dict[int, Cause]:
        """The rows that must not be stored, and why; empty where all are sound.

        `vectors` is ``(n, dimension)``. A row is refused where a number is NaN or infinite, where all are
        zero, and where its length is not 1 although the model normalises. Raises `ValueError` for another shape
        or type, which no model that is described correctly gives.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or vectors.dtype != np.float32:
            raise ValueError(
                f"vectors are {vectors.dtype} of shape {vectors.shape}, expected float32 of (n, {self.dimension})"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        refused: dict[int, Cause] = {}
        for row in np.flatnonzero(~np.isfinite(lengths)):
            refused[int(row)] = Cause("InvalidVector", "the model gave NaN or infinite numbers")
        for row in np.flatnonzero(lengths == 0):
            refused[int(row)] = Cause("InvalidVector", "the model gave only zeros")
        if self.normalized:
            off = np.abs(lengths - 1) > _UNIT_TOLERANCE
            for row in np.flatnonzero(off & (lengths > 0) & np.isfinite(lengths)):
                refused[int(row)] = Cause("InvalidVector", f"the vector's length is {lengths[row]:.4g}, not 1")
        return refused
