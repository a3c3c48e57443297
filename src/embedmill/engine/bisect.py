"""Find the texts that an embedder fails on, so that they do not take their batch with them."""

from __future__ import annotations

import numpy as np

from embedmill.core.errors import ModelUnusable
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.vectors import Batch, Cause, Embedded, Vectors


def bisect_failures(embedder: TokenEmbedder, batch: Batch) -> tuple[Embedded, int]:
    """Embed a batch; where that fails, halve it down to the texts that do. Also, how many calls were tried again.

    To fail is to raise anything at all, `SystemExit` too, or to give something else than a vector for each text. To be
    called in a thread of its own, where no Ctrl-C arrives. Raises `ModelUnusable`, which is no text's fault.
    """
    if not batch.texts:
        return Embedded(batch, np.empty((0, embedder.dimension), np.float32)), 0
    try:
        return Embedded(batch, _inferred(embedder, batch)), 0
    except ModelUnusable:
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
    vectors = np.asarray(given, np.float32)
    if vectors.shape != (len(batch.texts), embedder.dimension):
        what = f"an array of shape {vectors.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise ValueError(f"the embedder gave {what}, expected an array of ({len(batch.texts)}, {embedder.dimension})")
    return vectors
