"""Vectors of terms: through the executor that the settings say and the user's cache, by one call for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from embedmill.api.assemble import build_components, embedder_of, streams_of
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import Settings, TermOptions
from embedmill.core.reports import ProgressCallback
from embedmill.core.vectors import Vectors
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.engine.lists import run_late
from embedmill.engine.stopping import Stopping


class EmbeddingStopped(Exception):
    """Terms were not all embedded, since that was asked to stop."""


class TermVectors:
    """Embeds terms, and counts what came of them.

    The model is looked for at the first call, and loaded where the cache lacks a term.
    """

    def __init__(
        self, chosen: Settings, stack: ExitStack, on_progress: ProgressCallback | None, stopping: Stopping
    ) -> None:
        """`stack` closes what a call has opened."""
        self.counts: Counter[str] = Counter()
        """As `EmbeddedList.counts`."""
        self.workers = streams_of(chosen)
        """Threads that may work on vectors at once."""
        self._chosen = chosen
        self._stack = stack
        self._on_progress = on_progress
        self._stopping = stopping

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Vectors of ``(n, dimension)``.

        Raises `EmbeddingError` where a text has none, `EmbeddingStopped`, and what `load_embedder` raises.
        """
        chosen = self._chosen

        def on_progress(done: int) -> None:
            if self._on_progress is not None:
                self._on_progress(done, len(texts))

        embedder, executor, cache, _ = build_components(chosen, embedder_of(chosen), self._stack)
        with self._stopping.also(executor):
            made = embed_with_cache(
                texts,
                embedder,
                partial(run_late, begin=lambda: executor.run),
                cache,
                batch_size=chosen.batch_size,
                on_progress=on_progress,
            )
        self.counts.update(made.counts())
        if self._stopping.asked():
            raise EmbeddingStopped
        return made.complete()


@contextmanager
def term_vectors(
    given: Mapping[str, Any], on_progress: ProgressCallback | None = None, stopping: Stopping | None = None
) -> Iterator[TermVectors]:
    """What embeds terms with these settings, for one call; `on_progress` is told how many are done, and of how many.

    `stopping` ends the call early. Raises `UsageError` for settings that make no sense.
    """
    chosen = read_settings(given, TermOptions)
    with ExitStack() as stack:
        yield TermVectors(chosen, stack, on_progress, stopping or Stopping())
