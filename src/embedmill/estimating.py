"""A dry run over a table: what a run would do, and about how long it would take."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from embedmill.batching import batches
from embedmill.interfaces import Embedder, Executor, Table
from embedmill.records import Batch
from embedmill.reporting import table_report
from embedmill.rows import IngestReport

_SAMPLE: Final = 500  # texts that are embedded to learn the machine's speed: a few seconds on two cores


def estimate(table: Table, embedder: Embedder, executor: Executor) -> IngestReport:
    """Count the rows that need a vector, and embed some of the table's texts for their speed; writes nothing."""
    started = time.perf_counter()
    stands = table.counts()
    texts = [text for text in table.sample(min(_SAMPLE, stands.left)) if text.strip()] if stands.left else []
    seconds, tokens = 0.0, 0
    if texts:
        embedder.load()
        loaded = time.perf_counter()
        encoded = list(zip(texts, embedder.encode(texts), strict=True))
        groups = batches(encoded, lambda each: len(each[1]))
        calls = [Batch(tuple(text for text, _ in group), tuple(ids for _, ids in group)) for group in groups]
        for _ in executor.run(calls):
            pass
        share = stands.left / len(texts)
        seconds, tokens = share * (time.perf_counter() - loaded), round(share * sum(call.tokens for call in calls))
    return table_report(
        table,
        stands,
        Counter(chunks=stands.left, embedded=stands.left, tokens=tokens),
        embedder,
        executor,
        stages={},
        seconds=time.perf_counter() - started,
        unchanged=stands.unchanged,
        removed=0,
        dry_run=True,
        estimated_seconds=round(seconds, 1),
    )
