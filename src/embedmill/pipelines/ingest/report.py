"""The counts of a run over a table as a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import EMPTY, UNMANAGED, Counts
from embedmill.core.table_reports import IngestReport
from embedmill.engine.unread import warn_of_documents
from embedmill.pipelines.reports import of_embedding


def table_report(
    table: Table,
    stands: Counts,
    counts: Mapping[str, int],
    embedder: Embedder | None,
    executor: Executor | None,
    *,
    stages: Mapping[str, float],
    seconds: float,
    **outcome: Any,
) -> IngestReport:
    """The report of a run over a table, or of a plan; `stands` is how the table stood before.

    Without embedder and executor, of a run that only measured.
    """
    text, vector = table.columns
    warn_of_documents(embedder.name if embedder else "", counts["unknown"], "rows")
    skipped = {"NULL": stands.without_text, EMPTY: stands.empty, UNMANAGED: stands.foreign if vector else 0}
    return IngestReport(
        documents=stands.rows,
        truncated=counts["truncated"],
        unknown=counts["unknown"],
        skipped={reason: number for reason, number in skipped.items() if number},
        failures=stands.failures - stands.empty + counts["failed"],
        store=table.url,
        table=table.name,
        text=text,
        vector=vector,
        changed=counts["changed"],
        measured=counts["measured"],
        **of_embedding(counts, embedder, executor, stages, seconds),
        **outcome,
    )
