"""Vectors of a list of texts, by as many processes as that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

from embedmill.api.assemble import bounded_workers
from embedmill.api.embedders import load_embedder, worker_factory
from embedmill.api.read_settings import read_settings
from embedmill.core.checks import switches, whole_number
from embedmill.core.defaults import DEFAULT_MODEL
from embedmill.core.interfaces.embedder import Task
from embedmill.core.reports import WorkerStats
from embedmill.core.vectors import EmbeddingMatrix, EmbeddingVector, Vector
from embedmill.engine.cached_lists import ListCounts, embed_with_cache
from embedmill.engine.lists import AT_ONCE, OnFailure, OnProgress, embed_each, some_texts
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.threads import ThreadExecutor
from embedmill.runtime import machine
from embedmill.runtime.closing import Closing
from embedmill.storage.cache.cache import PersistentCache


class ParallelEmbeddingGenerator(Closing):
    """Embeds lists of texts in worker processes, which are kept from one call to the next.

    Fewer texts than `threshold`, and all texts where there is one worker, are embedded in this process, which is as
    fast: what goes to a worker and back costs a fifth of ten short texts (benchmarks/README.md). `workers` is
    by default the setting `embedding_parallel_workers`, else one for each core; where the setting
    `enable_parallel_embeddings` is off, there is one. `batch_size` is the most texts of a batch; by default only its
    tokens count. Vectors are looked up in the user's cache, and kept there, unless `cache` is False. `model`,
    `precision` and the prompts are those of `load_embedder`.

    Raises `UsageError` for numbers that make no sense, and what `load_embedder` raises.
    """

    def __init__(
        self,
        workers: int | None = None,
        threshold: int = 50,
        *,
        model: str = DEFAULT_MODEL,
        precision: str = "auto",
        document_prompt: str | None = None,
        query_prompt: str | None = None,
        batch_size: int | None = None,
        cache: bool = True,
        limits: Limits | None = None,
    ) -> None:
        """Find the model; nothing is loaded or started before the first call."""
        whole_number("threshold", threshold, 0)
        if batch_size is not None:
            whole_number("batch_size", batch_size)
        switches(cache=cache)
        chosen = read_settings(None, ("embedding_parallel_workers", "enable_parallel_embeddings"))
        asked = workers
        if asked is None:
            asked = bounded_workers(chosen.embedding_parallel_workers or machine.cores())
        embedder = load_embedder(model, precision=precision, document_prompt=document_prompt, query_prompt=query_prompt)
        factory = worker_factory(model, precision, document_prompt=document_prompt, query_prompt=query_prompt)
        pool = EmbedderPool(factory, workers=asked, limits=limits)
        self.workers = pool.workers if chosen.enable_parallel_embeddings else 1
        self.threshold = threshold
        self.batch_size = batch_size
        self._cache = PersistentCache() if cache else None
        self._counts = ListCounts()
        self._closed = False
        self._pool = pool
        self._embedder = embedder
        self._here = ThreadExecutor(self._embedder)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._embedder.dimension

    @overload
    def generate(
        self, texts: str, *, task: Task = "document", on_progress: OnProgress | None = None
    ) -> EmbeddingVector: ...
    @overload
    def generate(
        self, texts: list[str] | tuple[str, ...], *, task: Task = "document", on_progress: OnProgress | None = None
    ) -> EmbeddingMatrix: ...
    def generate(
        self,
        texts: str | list[str] | tuple[str, ...],
        *,
        task: Task = "document",
        on_progress: OnProgress | None = None,
    ) -> EmbeddingVector | EmbeddingMatrix:
        """Vectors of ``(len(texts), dimension)`` in the texts' order, equal to those of one process.

        Of a single text it is one vector, ``(dimension,)``. Longer texts than the model reads are cut. `on_progress` is
        told after every batch how many texts are done. Safe to call from several threads.

        Raises `ValueError` for no texts; `EmbeddingError`, which has the vectors of the others, where texts are empty
        or blank, or have no vector or one that no sound model gives (NaN, infinite, only zeros); `TypeError` for
        anything but texts; `UsageError` for a task other than "document" and "query", and an `on_progress` that is no
        function; and `RuntimeError` after `close`.
        """
        if self._closed:
            raise RuntimeError("this ParallelEmbeddingGenerator is closed: make a new one")
        if isinstance(texts, str):
            alone: EmbeddingVector = self.generate([texts], task=task, on_progress=on_progress)[0]
            return alone
        listed = some_texts(texts)
        executor = self._here if self.workers == 1 or len(listed) < self.threshold else self._pool
        made = embed_with_cache(
            listed,
            self._embedder,
            executor.run,
            self._cache,
            task=task,
            batch_size=self.batch_size,
            on_progress=on_progress,
        )
        self._counts.add(made)
        vectors: EmbeddingMatrix = made.complete()
        return vectors

    def generate_iter(
        self,
        texts: Iterable[str],
        *,
        task: Task = "document",
        at_once: int = AT_ONCE,
        on_progress: OnProgress | None = None,
        on_failure: OnFailure | None = None,
    ) -> Iterator[Vector]:
        """Each text's vector, ``(dimension,)``, in the texts' order: for millions of texts, in bounded memory.

        `at_once` texts are taken from `texts`, and embedded, before the first of their vectors is given. Errors are
        those of `generate`; where `on_failure` is given it is told of each text that has no vector, counted from 0,
        and why, and its vector is NaN.
        """
        return embed_each(
            texts, self.generate, task=task, at_once=at_once, on_progress=on_progress, on_failure=on_failure
        )

    def stats(self) -> list[WorkerStats]:
        """What each worker is doing and has done; empty before the first call that needed workers."""
        return self._pool.stats()

    def check_health(self) -> list[str]:
        """What is wrong with the workers now, a line each; empty while all is well."""
        return ["the generator is closed"] if self._closed else self._pool.check_health()

    def statistics(self) -> dict[str, int]:
        """What became of the texts of all calls so far.

        Of `texts` are `embedded`, `cached`, `duplicates` and `failed`; `misses` are the distinct texts that the cache
        was asked for in vain, `tokens` those of what is embedded.
        """
        return self._counts.to_dict()

    def close(self) -> None:
        """End the workers and give the model's memory back; may be called twice."""
        self._closed = True
        self._pool.close()
        self._here.close()
        self._embedder.close()
        if self._cache is not None:
            self._cache.close()
