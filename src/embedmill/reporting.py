"""A run's counts as a report and as `Progress`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedmill.interfaces import Embedder, Executor, Source, Table
from embedmill.reading import Reader
from embedmill.records import Progress, Report
from embedmill.rows import EMPTY, FOREIGN, Counts, IngestReport
from embedmill.unread import warn_of_documents


def report(
    source: Source,
    reader: Reader,
    counts: Mapping[str, int],
    embedder: Embedder,
    executor: Executor,
    *,
    stages: Mapping[str, float],
    seconds: float,
    **outcome: Any,
) -> Report:
    """The report of a run or a plan; `outcome` are the fields that only one of the two knows."""
    unreadable = {"unreadable": reader.unreadable} if reader.unreadable else {}
    warn_of_documents(embedder.name, reader.unknown, "chunks", reader.unknown_example)
    return Report(
        documents=reader.documents,
        unchanged=reader.unchanged,
        truncated=reader.truncated,
        unknown=reader.unknown,
        guessed=reader.guessed,
        encoded_characters=reader.encoded_characters,
        skipped=dict(source.skipped) | unreadable,
        **_of_embedding(counts, embedder, executor, stages, seconds),
        **outcome,
    )


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
    skipped = {"NULL": stands.without_text, EMPTY: stands.empty, FOREIGN: stands.foreign if vector else 0}
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
        **_of_embedding(counts, embedder, executor, stages, seconds),
        **outcome,
    )


def _of_embedding(
    counts: Mapping[str, int],
    embedder: Embedder | None,
    executor: Executor | None,
    stages: Mapping[str, float],
    seconds: float,
) -> dict[str, Any]:
    """The fields that tell of embedding, whatever was embedded."""
    fingerprint = embedder.fingerprint if embedder else None
    return {
        "chunks": counts["chunks"],
        "embedded": counts["embedded"],
        "cached": counts["cached"],
        "duplicates": counts["duplicates"],
        "failed": counts["failed"],
        "tokens": counts["tokens"],
        "seconds": round(seconds, 3),
        "model": embedder.name if embedder else "",
        "space": fingerprint.space.id if fingerprint else "",
        "precision": fingerprint.precision if fingerprint else "",
        "executor": executor.name if executor else "",
        "workers": executor.workers if executor else 0,
        "restarts": executor.restarts if executor else 0,
        "retries": executor.retries if executor else 0,
        "worker_stats": tuple(executor.stats()) if executor else (),
        "health": tuple(executor.check_health()) if executor else (),
        "tuning": executor.tuning if executor else "",
        "stages": {name: round(value, 3) for name, value in stages.items()},
    }


def progress(
    reader: Reader, counts: Mapping[str, int], finished_bytes: int, executor: Executor, seconds: float
) -> Progress:
    """How far a run has come."""
    return Progress(
        documents=reader.unchanged + counts["documents"],
        bytes=reader.passed_bytes + finished_bytes,
        unchanged=reader.unchanged,
        chunks=counts["chunks"],
        embedded=counts["embedded"],
        cached=counts["cached"],
        duplicates=counts["duplicates"],
        failed=counts["failed"],
        tokens=counts["tokens"],
        restarts=executor.restarts,
        seconds=seconds,
    )
