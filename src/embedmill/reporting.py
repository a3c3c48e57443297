"""A run's counts as a `Report` and as `Progress`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedmill.interfaces import Embedder, Executor, Source
from embedmill.reading import Reader
from embedmill.records import Progress, Report


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
    fingerprint = embedder.fingerprint
    unreadable = {"unreadable": reader.unreadable} if reader.unreadable else {}
    return Report(
        documents=reader.documents,
        unchanged=reader.unchanged,
        chunks=counts["chunks"],
        embedded=counts["embedded"],
        cached=counts["cached"],
        duplicates=counts["duplicates"],
        truncated=reader.truncated,
        failed=counts["failed"],
        tokens=counts["tokens"],
        seconds=round(seconds, 3),
        model=embedder.name,
        space=fingerprint.space.id,
        precision=fingerprint.precision,
        executor=executor.name,
        workers=executor.workers,
        restarts=executor.restarts,
        retries=executor.retries,
        worker_stats=tuple(executor.stats()),
        health=tuple(executor.check_health()),
        tuning=executor.tuning,
        stages={name: round(value, 3) for name, value in stages.items()},
        skipped=dict(source.skipped) | unreadable,
        **outcome,
    )


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
