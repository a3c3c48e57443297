"""``embedmill retry-failed``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from embedmill.api.settings import DocumentOptions
from embedmill.cli import options, output, parser
from embedmill.cli.render import hints
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.core.reports import Report


@parser.command(
    "embedmill retry-failed",
    "embedmill retry-failed --store sqlite:notes.db --json",
    "embedmill retry-failed sentences --store postgresql://localhost/app",
    notes=options.SETTINGS_NOTE + options.TABLE_NOTE,
)
def retry_failed(
    *,
    table: options.FilledTable = None,
    vector: options.FilledVector = None,
    metrics: options.Metrics = None,
    truncate: options.Truncate = None,
    max_text: options.MaxText = None,
    given: Annotated[DocumentOptions, options.Given(model=options.NOTED_MODEL, schema=options.EITHER_SCHEMA)],
    force: options.Force = False,
    as_json: bool,
) -> int:
    """Try again what could not be read or embedded.

    Files are taken as the run that failed took them, with its --include, --exclude, --chunk-tokens and the like. What
    did not fail is not embedded again. What fails again stays on record, with one attempt more. Of a TABLE, new
    and changed rows are embedded as well, as ingest would.
    """
    from embedmill.api import retry
    from embedmill.cli.runs import run_on_store, run_on_table

    about = options.given(vector=vector) | options.of_rows(metrics, truncate, max_text)
    if table is not None:
        from embedmill.api.ingest import ingest

        if given.get("chunk_tokens") is not None:
            raise UsageError("--chunk-tokens is for files: the text of a row is not cut")
        if force:
            raise UsageError("--force is for files: of a table, every row that has failed is read")
        again = partial(ingest, table, again=True, **about, **options.given(**given))
        return run_on_table(again, table, about, given, retrying=True, as_json=as_json)
    options.check_store(about)
    options.tell_store(given)
    documents = 0

    def job(**watching: Any) -> Report:
        nonlocal documents
        report = retry.retry_failed(force=force, **given, **watching)
        documents = report.documents
        return report

    code = run_on_store(job, None, given, retrying=True, as_json=as_json)
    if not documents and not output.quiet():
        hints.tell_tables("retry-failed", given)
    return code
