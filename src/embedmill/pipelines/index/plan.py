"""A dry run: what a run would do, and about how long it would take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from embedmill.chunking.options import Chunking
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.source import Source
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Progress, Report
from embedmill.engine.throughput import seconds_for
from embedmill.pipelines.index.indexer import known_vectors
from embedmill.pipelines.index.reader import Piece, Reader, ReadWhole
from embedmill.pipelines.index.report import progress, report

_SAMPLE_TOKENS = 20_000
"""Tokens that are embedded to learn the machine's speed: about a second on two cores."""


def plan(
    source: Source,
    store: Store | None,
    embedder: Embedder,
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
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    sample: list[Piece] = []
    sampled = read_bytes = 0
    for group in reader.events():
        pieces = [event for event in group if isinstance(event, Piece)]
        known = known_vectors([piece.hash for piece in pieces], embedder, cache, store)
        for piece in pieces:
            counts["chunks"] += 1
            if piece.hash in seen:
                counts["duplicates"] += 1
            elif piece.hash in known:
                counts["cached"] += 1
            else:
                counts["embedded"] += 1
                counts["tokens"] += len(piece.ids)
                if sampled < _SAMPLE_TOKENS:
                    sample.append(piece)
                    sampled += len(piece.ids)
            seen.add(piece.hash)
        whole = [event.document for event in group if isinstance(event, ReadWhole)]
        counts["documents"] += len(whole)
        read_bytes += sum(document.state.size for document in whole)
        on_progress(progress(reader, counts, read_bytes, executor, time.perf_counter() - started))
    seconds = time.perf_counter() - started
    texts = [(piece.input, piece.ids) for piece in sample]
    embedding = seconds_for(counts["tokens"], texts, embedder, executor, batch_size)
    return report(
        source,
        reader,
        counts,
        embedder,
        executor,
        stages=reader.seconds,
        seconds=seconds,
        removed=0,
        store=url,
        failures=store.status().failures if store else 0,
        dry_run=True,
        estimated_seconds=round(seconds + embedding, 1),
    )
