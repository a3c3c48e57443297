"""``embedmill index`` and ``embedmill retry-failed``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmill.api.settings import DocumentOptions, FileOptions
from embedmill.cli import options, parser
from embedmill.cli.commands.ingest import run_on_table
from embedmill.cli.render import hints
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.core.reports import Report


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    parser.add(
        commands,
        "embedmill index docs src",
        "embedmill index . --include '*.md' --exclude drafts/",
        "embedmill index . --exclude drafts/ --prune",
        "embedmill index ~/notes --store sqlite:notes.db --dry-run",
        "embedmill index docs --store postgresql://ada@localhost/app --schema docs",
        "embedmill index corpus --executor processes --workers 4",
        notes=options.SETTINGS_NOTE,
    )(index)
    parser.add(
        commands,
        "embedmill retry-failed",
        "embedmill retry-failed --store sqlite:notes.db --json",
        "embedmill retry-failed sentences --store postgresql://localhost/app",
        notes=options.SETTINGS_NOTE + options.TABLE_NOTE,
        name="retry-failed",
    )(retry_failed)


def index(
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders.", show_default=False)],
    given: FileOptions,
    prune: options.Prune = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    as_json: bool,
    quiet: bool,
) -> int:
    """Bring a store up to date with files.

    Only what has changed is read again, and only what no earlier run has embedded is embedded. What has
    vanished from the folders is removed from the store; what is there and now left out by an option stays, unless
    --prune is given. A run may be stopped at any time: the next one goes on.
    """
    from embedmill.api import index as api
    from embedmill.api.read_settings import read_settings
    from embedmill.cli.runs import run_on_store

    options.tell_store(given, quiet=quiet)
    chosen = read_settings(given, FileOptions)
    # A second one, for the total: the run's own counts what it leaves out.
    source = api.files(paths, chosen, least=0 if prune else 1)
    job = partial(api.index, paths, dry_run=dry_run, prune=prune, force=force, **given)
    return run_on_store(job, source, given, as_json=as_json, quiet=quiet)


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
    quiet: bool,
) -> int:
    """Try again what could not be read or embedded.

    Files are taken as the run that failed took them, with its --include, --exclude, --chunk-tokens and the like. What
    did not fail is not embedded again. What fails again stays on record, with one attempt more. Of a TABLE, new
    and changed rows are embedded as well, as ingest would.
    """
    from embedmill.api import retry
    from embedmill.cli.runs import run_on_store

    about = options.given(vector=vector) | options.of_rows(metrics, truncate, max_text)
    if table is not None:
        from embedmill.api.ingest import ingest

        if given.get("chunk_tokens") is not None:
            raise UsageError("--chunk-tokens is for files: the text of a row is not cut")
        if force:
            raise UsageError("--force is for files: of a table, every row that has failed is read")
        again = partial(ingest, table, again=True, **about, **options.given(**given))
        return run_on_table(again, table, about, given, retrying=True, as_json=as_json, quiet=quiet)
    options.check_store(about)
    options.tell_store(given, quiet=quiet)
    documents = 0

    def job(**watching: Any) -> Report:
        nonlocal documents
        report = retry.retry_failed(force=force, **given, **watching)
        documents = report.documents
        return report

    code = run_on_store(job, None, given, retrying=True, as_json=as_json, quiet=quiet)
    if not documents and not quiet:
        hints.tell_tables("retry-failed", given)
    return code
