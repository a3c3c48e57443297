"""A dry run over a table: what a run would do, and about how long it would take."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.table import Table
from embedmill.core.table_reports import IngestReport
from embedmill.engine.lists import seconds_for
from embedmill.pipelines.ingest.report import table_report

_SAMPLE: Final = 500  # texts that are embedded to learn the machine's speed: a few seconds on two cores


def estimate(
    table: Table,
    embedder: TokenEmbedder,
    executor: Executor,
    *,
    overwrite: bool = False,
    again: bool = False,
    batch_size: int | None = None,
) -> IngestReport:
    """Count the rows that need a vector, and embed some of the table's texts for their speed; writes nothing.

    Raises what `Table.check` raises.
    """
    started = time.perf_counter()
    space = embedder.fingerprint.space.id
    table.check(embedder.fingerprint, embedder.name, overwrite=overwrite)
    status = table.status()
    stands = status.counts
    due = stands.rows - stands.failures if overwrite else stands.left
    due += stands.failures if again else 0
    if status.space not in (None, space):  # which is overwritten, or has no vectors yet
        due = stands.rows
    texts = [text for text in table.sample(min(_SAMPLE, due)) if text.strip()] if due else []
    sample = list(zip(texts, embedder.encode(texts), strict=True)) if texts else []
    tokens = round(due * sum(len(ids) for _, ids in sample) / len(sample)) if sample else 0
    seconds = seconds_for(tokens, sample, embedder, executor, batch_size)
    return table_report(
        table,
        stands,
        Counter(chunks=due, embedded=due, tokens=tokens),
        embedder,
        executor,
        stages={},
        seconds=time.perf_counter() - started,
        unchanged=stands.unchanged if due < stands.rows and not overwrite else 0,
        removed=0,
        dry_run=True,
        estimated_seconds=round(seconds, 1),
    )
