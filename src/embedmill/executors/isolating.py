"""Find the texts that an embedder fails on, so that they do not take their batch with them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from embedmill.records import Batch, Cause, Embedded, Vectors


class Infers(Protocol):
    """The part of an `Embedder` that makes vectors."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def infer(self, batch: Batch) -> Vectors:
        """One model call."""


def isolate(embedder: Infers, batch: Batch) -> tuple[Embedded, int]:
    """Embed a batch; where that raises, halve it down to the texts that do. Also, how many calls were tried again."""
    try:
        return Embedded(batch, embedder.infer(batch)), 0
    except Exception as error:
        if len(batch.texts) == 1:
            empty = np.full((1, embedder.dimension), np.nan, np.float32)
            return Embedded(batch, empty, {0: Cause.of(error)}), 0
    middle = len(batch.texts) // 2
    left, retried = isolate(embedder, batch.part(0, middle))
    right, retried_too = isolate(embedder, batch.part(middle, len(batch.texts)))
    causes = {**left.causes, **{row + middle: cause for row, cause in right.causes.items()}}
    return Embedded(batch, np.concatenate([left.vectors, right.vectors]), causes), 1 + retried + retried_too
