"""What the commands that fill a store have in common."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from embedmill.cli import exits, output, summary
from embedmill.cli.signals import Stopping
from embedmill.cli.wording import counted
from embedmill.progress import State, displayed
from embedmill.records import Report
from embedmill.stores import open_store

if TYPE_CHECKING:
    from embedmill.config import Settings
    from embedmill.interfaces import Source

AnyReport = TypeVar("AnyReport", bound=Report)


def run(
    job: Callable[..., AnyReport],
    source: Source | None,
    *,
    told: Callable[[AnyReport], str],
    first_failures: Callable[[], list[str]],
    again: str,
    listed: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Do the job, which fills a store or a table, with progress and signals; report on it and give the exit code.

    `source` is listed for the total that progress is measured by; None where that is not needed. `told` is the report
    for people; `first_failures` looks for a line for each, `again` is the command that tries them once
    more, `listed` the one that shows them all.
    """
    with Stopping() as stopping, displayed(sys.stderr, source, quiet=quiet) as display:

        def show(progress: State) -> None:
            stopping.repeat()
            display.show(progress)

        report = job(on_progress=show, on_start=stopping.watch)
    if as_json:
        output.emit(report.to_dict() | {"store": output.masked(report.store)})
    elif not quiet:
        output.say(told(report))
        if output.verbose() and report.worker_stats:
            output.say(summary.workers(report))
    if report.interrupted:
        output.complain("interrupted: what was finished is stored, the same command goes on from there")
        return exits.INTERRUPTED
    if report.dry_run or not report.failures:
        return exits.DONE
    if not as_json and not quiet:
        output.say(summary.failed(first_failures(), report.failures, again=again, listed=listed))
    output.complain(f"error: {counted(report.failures, 'failure')} left in the store: see {listed}")
    return exits.SOME_FAILED


def run_on_store(
    job: Callable[..., Report], source: Source | None, chosen: Settings, *, as_json: bool, quiet: bool
) -> int:
    """`run` a job that fills the chosen store."""

    def first_failures() -> list[str]:
        with closing(open_store(chosen.store, write=False, schema=chosen.schema)) as opened:
            first = itertools.islice(opened.failures(), summary.FAILURES_SHOWN)
            return [summary.describe(failure) for failure in first]

    return run(
        job,
        source,
        told=summary.of_files,
        first_failures=first_failures,
        again="embedmill retry-failed",
        listed="embedmill status --failures",
        as_json=as_json,
        quiet=quiet,
    )
