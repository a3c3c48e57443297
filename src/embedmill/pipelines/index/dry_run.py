"""A dry run: what a run would do, and about how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from embedmill.chunking.options import Chunking
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.source import Source
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Progress, Report
from embedmill.core.vectors import Cause, TokenIds, Vector
from embedmill.engine.dedup import Deduplicator
from embedmill.engine.lists import seconds_for
from embedmill.engine.run import count_unknown
from embedmill.engine.sink import Origin
from embedmill.pipelines.index.reader import Pending, Piece, Reader
from embedmill.pipelines.index.report import progress, report

_SAMPLE_TOKENS = 20_000
"""Tokens that are embedded to learn the machine's speed: about a second on two cores."""


def plan(
    source: Source,
    store: Store | None,
    embedder: TokenEmbedder,
    executor: Executor,
    *,
    url: str,
    cache: VectorCache | None = None,
    chunking: Chunking | None = None,
    batch_size: int | None = None,
    force: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Read and cut the source as a run would, and look up what is known; writes nothing.

    `store` is None where there is none yet. The report's counts are those of the run to come; `seconds` is what
    planning took, and `estimated_seconds` what the run will take, judged by embedding some of its own chunks.
    """
    started = time.perf_counter()
    reader = Reader(source, store, embedder, chunking or Chunking(embedder.max_tokens), force=force)
    sample = _Sample()
    items = Deduplicator(sample, embedder.fingerprint, cache=cache, store=store, recent=None)
    finished = finished_bytes = 0

    def pieces() -> Iterator[Sequence[Piece]]:
        nonlocal finished, finished_bytes
        for group in reader.events():
            yield [event for event in group if isinstance(event, Piece)]
            whole = [event for event in group if isinstance(event, Pending)]
            finished += len(whole)
            finished_bytes += sum(document.state.size for document in whole)
            seconds = time.perf_counter() - started
            on_progress(progress(reader, items.counts, finished, finished_bytes, executor, seconds))

    count_unknown(pieces(), items)
    seconds = time.perf_counter() - started
    embedding = seconds_for(items.counts["tokens"], sample.texts, embedder, executor, batch_size)
    return report(
        source,
        reader,
        items.counts,
        embedder,
        executor,
        stages=reader.stages,
        seconds=seconds,
        removed=0,
        store=url,
        failures=store.status().failures if store else 0,
        dry_run=True,
        estimated_seconds=round(seconds + embedding, 1),
    )


class _Sample:
    """A sink that keeps the first texts that the model would be given."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, TokenIds]] = []
        self._tokens = 0

    def accept(self, piece: Piece, vector: Vector, origin: Origin) -> None:
        if origin == "embedded" and self._tokens < _SAMPLE_TOKENS:
            self.texts.append((piece.input, piece.ids))
            self._tokens += len(piece.ids)

    def reject(self, piece: Piece, cause: Cause) -> None:
        raise AssertionError("nothing is embedded that could fail")
