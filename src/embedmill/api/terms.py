"""Vectors of terms: through the executor that the settings say and the user's cache, by one call for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from embedmill.api.assemble import Components, build_components, embedder_of
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import TermOptions
from embedmill.core.vectors import Vectors
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.engine.lists import OnProgress, run_late
from embedmill.runtime import machine


class TermVectors:
    """Embeds terms, and counts what came of them. The model is loaded where the cache lacks a term, and not before."""

    def __init__(
        self, components: Components, batch_size: int | None, workers: int, on_progress: OnProgress | None
    ) -> None:
        self.counts: Counter[str] = Counter()
        """As `EmbeddedList.counts`."""
        self.workers = workers
        """Threads that may work on vectors at once."""
        self._components = components
        self._batch_size = batch_size
        self._on_progress = on_progress

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Vectors of ``(n, dimension)``. Raises `EmbeddingError` where a text has none, and what the model raises."""
        embedder, executor, cache, _ = self._components
        made = embed_with_cache(
            texts,
            embedder,
            partial(run_late, begin=lambda: executor.run),
            cache,
            batch_size=self._batch_size,
            on_progress=self._on_progress,
        )
        self.counts.update(made.counts())
        return made.complete()


@contextmanager
def term_vectors(given: Mapping[str, Any], on_progress: OnProgress | None = None) -> Iterator[TermVectors]:
    """What embeds terms with these settings; `on_progress` is told how many are done.

    Raises what `load_embedder` raises.
    """
    chosen = read_settings(given, TermOptions)
    with ExitStack() as stack:
        components = build_components(chosen, embedder_of(chosen), stack)
        workers = min(chosen.workers or machine.cores(), machine.cores())
        yield TermVectors(components, chosen.batch_size, workers, on_progress)
