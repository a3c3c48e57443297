"""A dry run over a table: what a run would do, and about how long it would take."""

from __future__ import annotations

import time
from typing import Final

from embedmill.batching import batches
from embedmill.interfaces import Embedder, Executor, Table
from embedmill.records import Batch
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
    text, vector = table.columns
    skipped = {"NULL": stands.without_text, "vector of unknown origin": stands.foreign}
    return IngestReport(
        documents=stands.rows,
        unchanged=stands.rows - stands.left,
        removed=0,
        chunks=stands.left,
        embedded=stands.left,
        cached=0,
        duplicates=0,
        truncated=0,
        failed=0,
        tokens=tokens,
        seconds=round(time.perf_counter() - started, 3),
        model=embedder.name,
        space=embedder.fingerprint.space.id,
        precision=embedder.fingerprint.precision,
        executor=executor.name,
        workers=executor.workers,
        restarts=executor.restarts,
        retries=executor.retries,
        store=table.url,
        stages={},
        skipped={reason: number for reason, number in skipped.items() if number},
        failures=stands.failures,
        dry_run=True,
        estimated_seconds=round(seconds, 1),
        table=table.name,
        text=text,
        vector=vector,
    )
