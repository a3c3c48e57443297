"""What a run did, in a few lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from embedmill.cli.output import masked, one_line
from embedmill.cli.render.wording import amounts, counted, in_time, place, table
from embedmill.core.documents import Failure, source_file_of
from embedmill.core.reports import Report

FAILURES_SHOWN: Final = 5


def of_files(report: Report) -> str:
    """The report of a run over files, or of what it would do."""
    if report.dry_run:
        head = f"would index {counted(report.chunks, 'chunk')}"
        if report.estimated_seconds is not None:
            head += f", in about {in_time(report.estimated_seconds)}"
        return f"{head}\n{_details(report)}"
    if not report.chunks and not report.removed and not report.interrupted and not report.swapped:
        looked_at = counted(report.documents, "document")
        head = f"nothing new in {looked_at}" if report.documents else "no documents to index"
        head += f" ({in_time(report.seconds)})"
        return f"{head}\n{table([*_left_out(report), ('store', masked(report.store))])}"
    if report.interrupted:
        head = f"stopped after {in_time(report.seconds)}"
    elif report.swapped:
        head = f"embedded anew with {report.model} in {in_time(report.seconds)}, and searched so from now on"
    else:
        head = f"{counted(report.chunks, 'chunk')} indexed in {in_time(report.seconds)}"
    if report.embedded:
        head += f" ({report.chunks_per_second:,.0f} chunks/s, {report.tokens_per_second:,.0f} tokens/s)"
    return f"{head}\n{_details(report)}"


def failed(lines: Sequence[str], total: int, *, again: str) -> str:
    """The first failures, one on each line; `again` is the command that tries them once more, "" for none."""
    shown = [one_line(line) for line in lines[:FAILURES_SHOWN]]
    if total > len(shown):
        shown.append(f"... and {total - len(shown):,} more")
    if again:
        shown.append(f"to try them again: {again}")
    return "\n".join(shown)


def describe(failure: Failure) -> str:
    """``path:line: cause``."""
    where, cause = place(source_file_of(failure.document), failure.line), failure.cause.message
    if cause.startswith(failure.document):  # as errors of reading do
        return masked(where + cause.removeprefix(failure.document))
    return masked(f"{where}: {failure.cause.type}: {cause}")


def outcomes(report: Report) -> list[tuple[int, str]]:
    """What became of texts, each with how many there were."""
    return [
        (report.embedded, "to embed" if report.dry_run else "embedded"),
        (report.cached, "cached"),
        (report.duplicates, "the same as another"),
        (report.failed, "failed"),
        (report.truncated, "truncated"),
        (report.unknown, "unknown to the model"),
    ]


def _details(report: Report) -> str:
    chunks = amounts(outcomes(report))
    documents = [f"{report.documents:,} found", f"{report.unchanged:,} unchanged"]
    documents += [f"{report.removed:,} removed"] if report.removed else []
    documents += [f"{report.kept:,} more from their stored chunks"] if report.kept else []
    return table(
        [
            ("documents", ", ".join(documents)),
            ("chunks", chunks or "none"),
            ("tokens", f"{report.tokens:,}"),
            *_left_out(report),
            ("model", f"{report.model} in {report.precision}, {workers_of(report)}"),
            ("replaced", replaced(report)),
            ("retried", counted(report.retries, "batch", "batches") if report.retries else ""),
            ("trouble", "; ".join(report.health)),
            ("store", masked(report.store)),
        ]
    )


def workers_of(report: Report) -> str:
    """How many, of what kind, and why."""
    if report.executor == "threads":
        return counted(report.workers, "worker")
    processes = counted(report.workers, "worker process", "worker processes")
    return f"{processes} (measured: {report.tuning})" if report.tuning else processes


def replaced(report: Report) -> str:
    """How many workers, and why; those of pools that were only tried count without a reason."""
    causes = sum((Counter(each.causes) for each in report.worker_stats), Counter[str]())
    reasons = ", ".join(f"{cause}: {number:,}" for cause, number in causes.most_common())
    what = counted(report.restarts, "worker process", "worker processes") if report.restarts else ""
    return f"{what} ({reasons})" if what and reasons else what


def workers(report: Report) -> str:
    """A line for each worker process, as ``-v`` shows them."""
    return "\n".join(
        f"worker {each.worker}: process {each.pid or 'none'}, {each.state}, "
        f"{counted(each.batches, 'batch', 'batches')}, {counted(each.documents, 'text')}, {each.tokens:,} tokens, "
        f"{each.rss_mb:,.0f} MB, "
        f"{each.age_seconds:,.0f} s old, {counted(each.restarts, 'restart')}"
        + "".join(f", {cause}: {number}" for cause, number in each.causes.items())
        for each in report.worker_stats
    )


def skipped(report: Report) -> str:
    """What was left out, the most common reason first."""
    reasons = sorted(report.skipped.items(), key=lambda item: (-item[1], item[0]))
    return amounts((number, reason) for reason, number in reasons)


def _left_out(report: Report) -> list[tuple[str, str]]:
    """What of documents is not in the store, may stand there with wrong letters, or stays there from earlier runs."""
    guessed, encoded, kept = report.guessed, report.encoded_characters, report.deselected
    of_guessed = f"the encoding of {counted(guessed, 'document')} (-v names them, --encoding says it)"
    of_kept = f"{counted(kept, 'document')} that this run's options leave out (--prune removes them)"
    return [
        ("skipped", skipped(report)),
        ("guessed", of_guessed if guessed else ""),
        ("left out", f"{encoded:,} characters of encoded data" if encoded else ""),
        ("kept", of_kept if kept else ""),
    ]
