"""Vectors of a list of texts, by as many processes as that is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedmill import machine
from embedmill.api import load_embedder, processes, worker_factory
from embedmill.checks import whole_number
from embedmill.closing import Closing
from embedmill.config import settings
from embedmill.errors import EmbeddingError
from embedmill.executors.inline import InlineExecutor
from embedmill.executors.limits import Limits
from embedmill.executors.processes import EmbedderPool
from embedmill.lists import checked, embed_list
from embedmill.records import Vectors, WorkerStats
from embedmill.validation import EmbeddingValidator


class ParallelEmbeddingGenerator(Closing):
    """Embeds lists of texts in worker processes, which are kept from one call to the next.

    Fewer texts than `threshold`, and all texts where there is one worker, are embedded in this process. `workers` is
    by default the setting `embedding_parallel_workers`, else one for each core; where the setting
    `enable_parallel_embeddings` is off, there is one. `model` and `precision` are those of `load_embedder`.

    Raises `UsageError` for numbers that make no sense, and what `load_embedder` raises.
    """

    def __init__(
        self,
        workers: int | None = None,
        threshold: int = 10,
        *,
        model: str = "all-MiniLM-L6-v2",
        precision: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        """Find the model; nothing is loaded or started before the first call."""
        whole_number("threshold", threshold, 0)
        chosen = settings(only=("embedding_parallel_workers", "enable_parallel_embeddings"))
        asked = workers
        if asked is None:
            asked = processes(chosen.embedding_parallel_workers or machine.cores())
        pool = EmbedderPool(worker_factory(model, precision), workers=asked, limits=limits)
        self.workers = pool.workers if chosen.enable_parallel_embeddings else 1
        self.threshold = threshold
        self._pool = pool
        self._embedder = load_embedder(model, precision=precision)
        self._here = InlineExecutor(self._embedder)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._embedder.dimension

    def generate(self, texts: Sequence[str]) -> Vectors:
        """Vectors of ``(len(texts), dimension)`` in the texts' order, equal to those of one process.

        Longer texts than the model reads are cut. Safe to call from several threads.

        Raises `EmbeddingError`, which has the vectors of the others, where texts have no vector or one that no sound
        model gives (NaN, infinite, only zeros); `TypeError` for anything but a list of texts; and `RuntimeError`
        after `close`.
        """
        listed = checked(texts)
        executor = self._here if self.workers == 1 or len(listed) < self.threshold else self._pool
        vectors, causes = embed_list(listed, self.dimension, self._embedder.encode, executor.run)
        validator = EmbeddingValidator(self.dimension, self._embedder.fingerprint.space.normalize)
        causes = validator.check(vectors) | causes  # what has a cause already is NaN
        if causes:
            first = min(causes)
            vectors[list(causes)] = np.nan
            raise EmbeddingError(
                f"{len(causes)} of {len(listed)} texts have no vector, the first of them text {first}: "
                f"{causes[first].type}: {causes[first].message}",
                vectors,
                causes,
            )
        return vectors

    def stats(self) -> list[WorkerStats]:
        """What each worker is doing and has done; empty before the first call that needed workers."""
        return self._pool.stats()

    def close(self) -> None:
        """End the workers and give the model's memory back; may be called twice."""
        self._pool.close()
        self._here.close()
        self._embedder.close()
