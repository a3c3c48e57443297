"""What the commands that fill a store or a table have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from embedmill.api.read_settings import read_settings
from embedmill.api.settings import StoreOptions
from embedmill.api.stores import open_chosen_store
from embedmill.cli import exit_codes, output
from embedmill.cli.progress import AnyProgress, display_on
from embedmill.cli.render import hints, summary
from embedmill.cli.render.wording import counted
from embedmill.cli.signals import StopOnSignal
from embedmill.core.reports import Report
from embedmill.runtime.paths import quote_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedmill.core.interfaces.source import Source
    from embedmill.core.table_reports import IngestReport

AnyReport = TypeVar("AnyReport", bound=Report)


def run(
    job: Callable[..., AnyReport],
    source: Source | None,
    *words: str,
    given: Mapping[str, Any],
    summarise: Callable[[AnyReport], str],
    first_failures: Callable[[], list[str]],
    retrying: bool,
    as_json: bool,
) -> int:
    """Do the job, which fills a store or a table, with progress and signals; report on it and give the exit code.

    `source` is listed for the total that progress is measured by; None where that is not needed. `words` name the
    table, and `given` are the options of this command, as far as they hold for those that may follow it: what has
    failed is tried once more by `retry-failed`, unless that is what was done (`retrying`). `summarise` makes the report
    for people; `first_failures` looks for a line for each.
    """
    display = display_on(output.for_progress(), source)
    with StopOnSignal() as stopping, closing(display):

        def show(progress: AnyProgress) -> None:
            stopping.repeat()
            display.show(progress)

        report = job(on_progress=show, on_start=stopping.watch)
    if as_json:
        output.emit(report.to_dict() | {"store": output.masked(report.store)})
    elif not output.quiet():
        output.say(summarise(report))
        if output.verbose() and report.worker_stats:
            output.say(summary.workers(report))
    if report.interrupted:
        output.complain("interrupted: what was finished is stored, the same command goes on from there")
        return exit_codes.INTERRUPTED
    for path in report.missing:
        output.complain(
            f"error: {quote_path(path)}: no such file or directory: --prune takes out what is left of it in the store"
        )
    locked = getattr(report, "locked", 0)  # only of tables
    if locked:
        output.complain(f"error: {counted(locked, 'locked row')} left: the same command embeds them")
    if report.dry_run or not report.failures:
        return exit_codes.SOME_FAILED if report.missing or locked else exit_codes.DONE
    if not as_json and not output.quiet():
        kept = (*hints.WHERE, *hints.HOW, hints.ALLOWED)
        again = "" if retrying else hints.command("retry-failed", *words, given=given, kept=kept)
        output.say(summary.failed(first_failures(), report.failures, again=again))
    listed = hints.command("status", *words, "--failures", given=given)
    output.complain(f"error: {counted(report.failures, 'failure')} left: see {listed}")
    return exit_codes.SOME_FAILED


def run_on_store(
    job: Callable[..., Report],
    source: Source | None,
    given: Mapping[str, Any],
    *,
    retrying: bool = False,
    as_json: bool,
) -> int:
    """`run` a job that fills the store which the options `given` and the other settings name."""

    def first_failures() -> list[str]:
        chosen = read_settings(given, StoreOptions)
        with closing(open_chosen_store(chosen, write=False)) as opened:
            first = itertools.islice(opened.failures(), summary.FAILURES_SHOWN)
            return [summary.describe(failure) for failure in first]

    return run(
        job,
        source,
        given=given,
        summarise=summary.of_files,
        first_failures=first_failures,
        retrying=retrying,
        as_json=as_json,
    )


def run_on_table(
    job: Callable[..., IngestReport],
    table: str,
    about: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    retrying: bool = False,
    as_json: bool,
) -> int:
    """Do the job, which fills a table; report on it and give the exit code.

    Of the options given `about` are those about the table, `given` the settings.
    """
    from embedmill.api.ingest import table_failures
    from embedmill.cli.render import tables

    def first_failures() -> list[str]:
        found = itertools.islice(table_failures(table, vector=about.get("vector"), **given), summary.FAILURES_SHOWN)
        return [tables.describe(table, failure) for failure in found]

    return run(
        job,
        None,
        table,
        given={**given, **about},
        summarise=tables.summary,
        first_failures=first_failures,
        retrying=retrying,
        as_json=as_json,
    )
