"""What the commands that fill a store have in common."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from embedmill.cli import exits, output, summary
from embedmill.cli.signals import Stopping
from embedmill.cli.wording import counted
from embedmill.progress import displayed
from embedmill.records import Failure, Progress, Report
from embedmill.stores import open_store

if TYPE_CHECKING:
    from embedmill.config import Settings
    from embedmill.interfaces import Source


def run(job: Callable[..., Report], source: Source | None, chosen: Settings, *, as_json: bool, quiet: bool) -> int:
    """Do the job, which fills the chosen store, with progress and signals; report on it and give the exit code.

    `source` is listed for the total that progress is measured by; None where that is not known.
    """
    with Stopping() as stopping, displayed(sys.stderr, source, quiet=quiet) as display:

        def show(progress: Progress) -> None:
            stopping.repeat()
            display.show(progress)

        report = job(on_progress=show, on_start=stopping.watch)
    if as_json:
        output.emit(report.to_dict() | {"store": output.masked(report.store)})
    elif not quiet:
        output.say(summary.plan(report) if report.dry_run else summary.summary(report))
        if output.verbose() and report.worker_stats:
            output.say(summary.workers(report))
    if report.interrupted:
        output.complain("interrupted: what was finished is stored, the same command goes on from there")
        return exits.INTERRUPTED
    if report.dry_run or not report.failures:
        return exits.DONE
    if not as_json and not quiet:
        output.say(summary.failed(_first_failures(chosen), report.failures))
    output.complain(f"error: {counted(report.failures, 'failure')} left in the store: see embedmill status --failures")
    return exits.SOME_FAILED


def _first_failures(chosen: Settings) -> list[Failure]:
    with closing(open_store(chosen.store, write=False, schema=chosen.schema)) as opened:
        return list(itertools.islice(opened.failures(), summary.FAILURES_SHOWN))
