"""The counts of a run over documents as a report, and as `Progress`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.source import Source
from embedmill.core.reports import Progress, Report
from embedmill.engine.unread import warn_of_documents
from embedmill.pipelines.index.reader import PieceReader, Reader
from embedmill.pipelines.reports import counted, of_embedding


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
        **of_embedding(counts, embedder, executor, stages, seconds),
        **outcome,
    )


def progress(
    reader: PieceReader,
    counts: Mapping[str, int],
    finished: int,
    finished_bytes: int,
    executor: Executor,
    seconds: float,
) -> Progress:
    """How far a run has come; so many documents were finished, and so many bytes."""
    return Progress(
        documents=reader.unchanged + finished,
        bytes=reader.passed_bytes + finished_bytes,
        unchanged=reader.unchanged,
        **counted(counts),
        restarts=executor.restarts,
        seconds=seconds,
    )
