"""Whether vectors are fit to be stored, and which texts an embedder gives none for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.errors import ModelUnusable
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.spaces import Space
from embedmill.core.vectors import Batch, Cause, Embedded, Vector, Vectors

NORM_TOLERANCE: Final = 1e-2
"""How far a normalised vector's length may be from 1: bf16 keeps 8 bits, so 2^-8 and some slack."""

REAL: Final = "fiu"
"""The kinds of NumPy's types that are real numbers: floats and whole numbers."""

_ALIKE_BY_CHANCE: Final = 8
"""Of vectors of fewer numbers all may be the same: two numbers in bf16 are, once in some 2^8 times."""


@dataclass(frozen=True, slots=True)
class VectorValidator:
    """Checks vectors of one space: before they are stored, and where they lie."""

    dimension: int
    normalized: bool
    tolerance: float = NORM_TOLERANCE

    @classmethod
    def of(cls, space: Space) -> VectorValidator:
        """For vectors of this space."""
        return cls(space.dimension, space.normalize)

    def check(self, vectors: Vectors) -> dict[int, Cause]:
        """The rows that must not be stored, and why; empty where all are sound.

        `vectors` is ``(n, dimension)``. A row is refused where a number is NaN or infinite, where all are zero, where
        all of eight or more are the same, and where its length is not 1 although the model normalises. Raises
        `ValueError` for another shape or type, which no model that is described correctly gives.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or vectors.dtype != np.float32:
            raise ValueError(
                f"vectors are {vectors.dtype} of shape {vectors.shape}, expected float32 of (n, {self.dimension})"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            sound = np.abs(lengths - 1) <= self.tolerance if self.normalized else (lengths > 0) & (lengths < np.inf)
        alike = (vectors[:, 0] == vectors[:, 1]) & (vectors[:, 0] == vectors[:, -1]) if self.dimension > 1 else ~sound
        refused = {}
        for row in np.flatnonzero(~sound | alike):  # few, so that only these are looked at one by one
            if (fault := self._fault(vectors[row], float(lengths[row]))) is not None:
                refused[int(row)] = Cause("InvalidVector", fault)
        return refused

    def sound(self, vectors: Mapping[bytes, Vector]) -> dict[bytes, Vector]:
        """Those of these that may be stored."""
        fit = {key: vector for key, vector in vectors.items() if vector.shape == (self.dimension,)}
        refused = self.check(np.stack(list(fit.values()))) if fit else {}
        return {key: vector for row, (key, vector) in enumerate(fit.items()) if row not in refused}

    def _fault(self, vector: Vector, length: float) -> str | None:
        if not math.isfinite(length):
            return "the model gave NaN or infinite numbers"
        if length == 0:
            return "the model gave only zeros"
        if self.normalized and abs(length - 1) > self.tolerance:
            return f"the vector's length is {length:.4g}, not 1"
        if self.dimension >= _ALIKE_BY_CHANCE and (vector == vector[0]).all():
            return f"the model gave {vector[0]:.4g} for every number"
        return None


def as_float32(numbers: NDArray[Any]) -> Vectors:
    """Real numbers as float32. What is masked, or too large, is no finite number then, and so never sound."""
    with np.errstate(over="ignore"):
        if isinstance(numbers, np.ma.MaskedArray):
            numbers = np.ma.filled(numbers.astype(np.float32), np.nan)
        return np.asarray(numbers, np.float32)


def given_vectors(given: object) -> Vectors:
    """What an embedder has given, as float32: doubles are cast. Raises `ValueError` where it is no real numbers."""
    numbers = np.asanyarray(given)
    if numbers.dtype.kind not in REAL:
        raise ValueError(f"the embedder gave {numbers.dtype}, expected real numbers, as float32")
    return as_float32(numbers)


def bisect_failures(embedder: TokenEmbedder, batch: Batch) -> tuple[Embedded, int]:
    """Embed a batch; where that fails, halve it down to the texts that do. Also, how many calls were tried again.

    To fail is to raise anything at all, `SystemExit` too, or to give something else than a vector for each text. Raises
    `ModelUnusable` and `KeyboardInterrupt`, which are no text's fault.
    """
    if not batch.texts:
        return Embedded(batch, np.empty((0, embedder.dimension), np.float32)), 0
    try:
        return Embedded(batch, _inferred(embedder, batch)), 0
    except (ModelUnusable, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(batch.texts) == 1:
            empty = np.full((1, embedder.dimension), np.nan, np.float32)
            return Embedded(batch, empty, {0: Cause.of(error)}), 0
    middle = len(batch.texts) // 2
    left, retried = bisect_failures(embedder, batch.part(0, middle))
    right, retried_too = bisect_failures(embedder, batch.part(middle, len(batch.texts)))
    causes = {**left.causes, **{row + middle: cause for row, cause in right.causes.items()}}
    return Embedded(batch, np.concatenate([left.vectors, right.vectors]), causes), 1 + retried + retried_too


def _inferred(embedder: TokenEmbedder, batch: Batch) -> Vectors:
    given = embedder.infer(batch)
    vectors = given_vectors(given)
    if vectors.shape != (len(batch.texts), embedder.dimension):
        what = f"an array of shape {vectors.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise ValueError(f"the embedder gave {what}, expected an array of ({len(batch.texts)}, {embedder.dimension})")
    return vectors
