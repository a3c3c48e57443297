"""Vectors of a list of texts, by as many processes as that is worth."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from embedmill import machine
from embedmill.api import load_embedder, worker_factory
from embedmill.batching import batches
from embedmill.closing import Closing
from embedmill.config import settings
from embedmill.errors import EmbeddingError, UsageError
from embedmill.executors.limits import Limits
from embedmill.executors.processes import EmbedderPool
from embedmill.records import Batch, Cause, TokenIds, Vectors, WorkerStats

_ENCODE_AT_ONCE = 64  # texts


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
        if threshold < 0:
            raise UsageError(f"threshold is {threshold}: give 0 or more")
        chosen = settings()
        asked = workers if workers is not None else chosen.embedding_parallel_workers or machine.cores()
        if asked < 1:
            raise UsageError(f"workers is {asked}: give at least 1")
        self.workers = asked if chosen.enable_parallel_embeddings else 1
        self.threshold = threshold
        self._embedder = load_embedder(model, precision=precision)
        self._factory = worker_factory(model, precision)
        self._limits = limits
        self._lock = threading.Lock()
        self._pool: EmbedderPool | None = None
        self._closed = False

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._embedder.dimension

    def generate(self, texts: Sequence[str]) -> Vectors:
        """Vectors of ``(len(texts), dimension)`` in the texts' order, equal to those of one process.

        Longer texts than the model reads are cut. Safe to call from several threads.

        Raises `EmbeddingError` where texts have no vector, which has the vectors of the others; `TypeError` for
        anything but a sequence of texts; and `RuntimeError` after `close`.
        """
        if self._closed:
            raise RuntimeError("this generator is closed: make a new one")
        if self.workers == 1 or len(texts) < self.threshold:
            return self._embedder.embed(texts)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("generate takes a list of texts: put a single text into a list")
        vectors = np.full((len(texts), self.dimension), np.nan, np.float32)
        causes: dict[int, Cause] = {}
        rows: dict[int, list[int]] = {}  # by the id of their batch

        def calls() -> Iterator[Batch]:
            for group in batches(self._encoded(texts), lambda item: len(item[1])):
                batch = Batch(tuple(texts[row] for row, _ in group), tuple(ids for _, ids in group))
                rows[id(batch)] = [row for row, _ in group]
                yield batch

        for embedded in self._started_pool().run(calls()):
            own = rows.pop(id(embedded.batch))
            vectors[own] = embedded.vectors
            causes.update({own[row]: cause for row, cause in embedded.causes.items()})
        if causes:
            first = min(causes)
            raise EmbeddingError(
                f"{len(causes)} of {len(texts)} texts have no vector, the first of them text {first}: "
                f"{causes[first].type}: {causes[first].message}",
                vectors,
                causes,
            )
        return vectors

    def _encoded(self, texts: Sequence[str]) -> Iterator[tuple[int, TokenIds]]:
        numbered = enumerate(texts)
        while group := list(itertools.islice(numbered, _ENCODE_AT_ONCE)):
            yield from zip((row for row, _ in group), self._embedder.encode([text for _, text in group]), strict=True)

    def _started_pool(self) -> EmbedderPool:
        with self._lock:
            if self._closed:
                raise RuntimeError("this generator is closed: make a new one")
            if self._pool is None:
                self._pool = EmbedderPool(self._factory, workers=self.workers, limits=self._limits)
            return self._pool

    def stats(self) -> list[WorkerStats]:
        """What each worker is doing and has done; empty before the first call that needed workers."""
        return self._pool.stats() if self._pool else []

    def close(self) -> None:
        """End the workers and give the model's memory back; may be called twice."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.close()
        self._embedder.close()
