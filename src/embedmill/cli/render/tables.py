"""Runs over tables, and how tables stand, in a few lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from embedmill.cli.output import masked, one_line
from embedmill.cli.render.summary import outcomes, replaced, skipped, workers_of
from embedmill.cli.render.wording import amounts, counted, in_time, prompts, table
from embedmill.core.rows import UNMANAGED, RowFailure
from embedmill.core.table_reports import IngestReport, TableStatus
from embedmill.storage.catalog import ListedTable

_REMEDY = " (--overwrite embeds those too)"


def summary(report: IngestReport) -> str:
    """The report of a run, or of what one would do."""
    rows = amounts(
        [
            *outcomes(report),
            (report.changed, "changed meanwhile"),
            (report.unchanged, "unchanged"),
            (report.removed, "gone"),
        ]
    )
    facts = [
        ("table", f"{report.table}, {report.text} to {report.vector}" if report.vector else report.table),
        ("rows", rows or "none"),
        ("tokens", f"{report.tokens:,}" if report.tokens else ""),
        ("skipped", skipped(report) + _REMEDY * (UNMANAGED in report.skipped)),
        ("last key", one_line(report.last_key)),
        ("metrics", f"{counted(report.measured, 'row')} measured" if report.measured else ""),
        ("index", report.index),
        ("swapped", f"{report.vector} has these vectors now, {report.beside} those before" if report.swapped else ""),
        ("model", f"{report.model} in {report.precision}, {workers_of(report)}" if report.model else ""),
        ("writers", str(report.writers) if report.writers > 1 else ""),
        ("replaced", replaced(report)),
        ("trouble", "; ".join(report.health)),
        ("store", masked(report.store)),
    ]
    return f"{_head(report)}\n{table(facts)}"


def _head(report: IngestReport) -> str:
    took = in_time(report.seconds)
    if report.dry_run:
        about = f", in about {in_time(report.estimated_seconds)}" if report.estimated_seconds is not None else ""
        return f"would fill {counted(report.embedded, 'row')}{about}"
    if report.interrupted:
        return f"stopped after {took}"
    if not report.vector:
        return f"{counted(report.measured, 'row')} measured in {took}"
    done = max(report.chunks - report.failed - report.changed, 0)
    if not report.chunks:
        return f"nothing new in {counted(report.documents, 'row')} ({took})"
    if not done:
        return f"no rows filled ({took})"
    speed = f" ({done / report.seconds:,.0f} rows/s)" if report.seconds else ""
    return f"{counted(done, 'row')} filled in {took}{speed}"


def describe(name: str, failure: RowFailure) -> str:
    """``table key: cause``."""
    return masked(f"{name} {', '.join(failure.key)}: {failure.cause.type}: {failure.cause.message}")


def standing(status: TableStatus) -> list[tuple[str, str]]:
    """How a table stands: what, and how it is."""
    counts = status.counts
    rows = [f"{counts.rows:,} with text", f"{counts.rows - counts.left - counts.failures:,} filled"]
    rows += [more] if (more := amounts([(counts.left, "to fill"), (counts.failures, "failed")])) else []
    left_out = amounts([(counts.without_text, "NULL"), (counts.foreign, UNMANAGED)])
    return [
        ("table", f"{status.table}, {status.text} to {status.vector}"),
        ("rows", ", ".join(rows)),
        ("skipped", left_out + _REMEDY * bool(counts.foreign)),
        ("model", status.model or "none yet"),
        ("space", status.space or ""),
        ("prompts", prompts(status.document_prompt, status.query_prompt)),
        ("index", status.index or "none"),
        ("store", status.store),
    ]


def listing(tables: Sequence[ListedTable]) -> list[tuple[str, str]]:
    """The tables of a database, a line for each."""
    return [
        (
            "table",
            f"{each.table}, {each.text} to {each.vector}, {each.model or 'no model yet'}, "
            + ("a run has finished" if each.filled else "no run has finished yet"),
        )
        for each in tables
    ]
