"""Whether a vector, however it is given, is one that a model of this kind gives."""

from __future__ import annotations

import array
from collections.abc import Iterable, Mapping, Set
from typing import Self

import numpy as np

from embedmill.api.embedders import make_embedder
from embedmill.api.read_settings import read_settings
from embedmill.core.checks import switches, whole_number
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector, Vectors
from embedmill.engine.validation import NORM_TOLERANCE, REAL, VectorValidator, as_float32


class EmbeddingValidator:
    """Checks embeddings: dimension, type, that all numbers are finite, neither all zero nor all the same, and length.

    Of vectors of fewer than eight numbers all may be the same, since sound ones are by chance: two numbers in bf16 are
    equal once in some 2^8 times. What an array masks is no number.

    The checks are those that every run makes before it stores a vector. Without arguments they are for the model that
    the environment and ``embedmill.toml`` name, else the default one, whose files are read but for its weights.
    """

    def __init__(
        self,
        dimension: int | None = None,
        normalized: bool | None = None,
        *,
        model: str | None = None,
        tolerance: float = NORM_TOLERANCE,
    ) -> None:
        """For vectors of this `dimension`, or of this `model`, or of the default one.

        `normalized`: whether their length is to be 1, give or take the `tolerance`; by default as with the model, and
        True where only a dimension is given. Raises `UsageError` for values that make no sense, or contradict each
        other, and what `load_embedder` raises where a model is asked.
        """
        if normalized is not None:
            switches(normalized=normalized)
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < 1:
            raise UsageError(f"tolerance is {tolerance!r}: give a number between 0 and 1")
        if dimension is not None and model is not None:
            raise UsageError("a model has its own dimension: give one of them, and leave the other out")
        by_model = True
        if dimension is None:
            name = read_settings({"model": model}, ["model"]).model
            embedder = make_embedder(name, precision="auto")
            dimension, by_model = embedder.dimension, embedder.normalized
        whole_number("dimension", dimension)
        self._vectors = VectorValidator(dimension, by_model if normalized is None else normalized, float(tolerance))

    @classmethod
    def of(cls, embedder: Embedder, *, tolerance: float = NORM_TOLERANCE) -> Self:
        """For the vectors of this embedder. Raises `UsageError` for what is none."""
        if not isinstance(getattr(embedder, "fingerprint", None), Fingerprint):
            raise UsageError(f"embedder is {embedder!r:.200}: give one, as load_embedder does")
        space = embedder.fingerprint.space
        return cls(space.dimension, space.normalize, tolerance=tolerance)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._vectors.dimension

    @property
    def normalized(self) -> bool:
        """Whether vectors have to be of length 1."""
        return self._vectors.normalized

    @property
    def tolerance(self) -> float:
        """How far a length may be from 1."""
        return self._vectors.tolerance

    def check(self, vectors: Vectors) -> dict[int, Cause]:
        """The rows of an array ``(n, dimension)`` that are unsound, and why; empty where all are sound.

        Takes some 20 ms for 100,000 rows of 384 numbers. Raises `ValueError` for another shape, or a type other than
        float32, and `TypeError` for anything but an array.
        """
        if not isinstance(vectors, np.ndarray):
            raise TypeError(f"expected an array of float32, got a {type(vectors).__name__}: validate_batch takes lists")
        return self._vectors.check(as_float32(vectors) if vectors.dtype == np.float32 else vectors)

    def validate_embedding(self, embedding: object) -> bool:
        """Whether this is a sound vector: a list, a tuple or an array of real numbers, ``(dimension,)``.

        False for anything else, whatever it is; nothing is raised.
        """
        return self._cause(embedding) is None

    def validate_batch(self, embeddings: Iterable[object]) -> tuple[list[int], dict[int, Cause]]:
        """Which of these are sound, and which are not: ``(valid, invalid)``, by their place in the batch.

        Places and not the vectors themselves, since a caller wants the chunks that belong to them. `invalid` has
        for each, in their order, why. Takes what `validate_embedding` takes, one after the other, or an array
        ``(n, dimension)``. Raises `TypeError` for what is no row of anything, as a number or a text.
        """
        if isinstance(embeddings, str | bytes | Mapping | Set) or not isinstance(embeddings, Iterable):
            raise TypeError(f"expected a list of embeddings, got a {type(embeddings).__name__}")
        if isinstance(embeddings, np.ndarray) and embeddings.ndim == 0:
            raise TypeError(f"expected a list of embeddings, got an array of one number, {embeddings}")
        if (
            isinstance(embeddings, np.ndarray)
            and embeddings.dtype.kind == "f"
            and embeddings.shape[1:] == (self.dimension,)
        ):
            total, invalid = len(embeddings), self.check(as_float32(embeddings))
        else:
            causes = [self._cause(embedding) for embedding in embeddings]
            total, invalid = len(causes), {row: cause for row, cause in enumerate(causes) if cause is not None}
        return [row for row in range(total) if row not in invalid], invalid

    def _cause(self, embedding: object) -> Cause | None:
        """Why it is no sound vector."""
        try:
            vector = self._as_vector(embedding)
            return vector if isinstance(vector, Cause) else self.check(vector[None]).get(0)
        except Exception as error:  # whatever an object's own methods raise
            return Cause.of(error)

    def _as_vector(self, embedding: object) -> Vector | Cause:
        if isinstance(embedding, list | tuple | array.array):
            if not all(type(number) in (int, float) or isinstance(number, np.number) for number in embedding):
                return _fault("it holds something else than numbers")
            embedding = np.array(embedding)
        if not isinstance(embedding, np.ndarray):
            return _fault(f"a {type(embedding).__name__} is no list, tuple or array of numbers")
        if embedding.dtype.kind not in REAL:
            return _fault(f"it holds {embedding.dtype}, not real numbers")
        if embedding.shape != (self.dimension,):
            return _fault(f"it is of shape {embedding.shape}, not ({self.dimension},)")
        return as_float32(embedding)


def _fault(message: str) -> Cause:
    return Cause("InvalidVector", message)
