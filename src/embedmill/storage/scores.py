"""How well a stored vector answers a query: as the model's card says that its vectors are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedmill.core.vectors import Vector

Score = Literal["dot", "cosine", "euclidean"]
"""The inner product; the cosine of the angle; the distance, negative: of all three, the larger is the better."""


def score_of(fields: Mapping[str, Any]) -> Score:
    """What a store sorts by, from the fields of its space.

    Where vectors are of length 1 the cosine is the inner product. Stores of earlier versions, which do not know the
    model's word, sort by that too, as they did.
    """
    similarity = fields.get("similarity")
    if similarity == "euclidean":
        return "euclidean"
    return "cosine" if similarity == "cosine" and not fields.get("normalize") else "dot"


def scores(vectors: NDArray[np.float32], query: Vector, score: Score) -> NDArray[np.float32]:
    """The score of each row of ``(n, dimension)``."""
    if score == "euclidean":
        difference = vectors - query
        return np.asarray(-np.sqrt(np.einsum("ij,ij->i", difference, difference)), np.float32)
    products = vectors @ query
    if score == "cosine":
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) * np.linalg.norm(query)
        products = products / np.maximum(lengths, np.float32(1e-12))
    return np.asarray(products, np.float32)
