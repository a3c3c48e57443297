"""``embedmill index`` and ``embedmill retry-failed``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmill.cli import options, output, parser
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
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders.", show_default=False)],
    model: options.Model = None,
    precision: options.Precision = None,
    device: options.Device = None,
    document_prompt: options.DocumentPrompt = None,
    query_prompt: options.QueryPrompt = None,
    executor: options.Executor = None,
    workers: options.Workers = None,
    preset: options.Preset = None,
    max_load: options.MaxLoad = None,
    sleep: options.Sleep = None,
    max_memory_mb: options.MaxMemory = None,
    max_documents_per_worker: options.MaxDocuments = None,
    batch_size: options.BatchSize = None,
    store: options.Store = None,
    schema: options.Schema = None,
    db_timeout: options.DbTimeout = None,
    cache: options.Cache = None,
    chunk_tokens: options.ChunkTokens = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    hidden: options.Hidden = None,
    generated: options.Generated = None,
    max_file_size: options.MaxFileSize = None,
    encoding: options.Encoding = None,
    prune: options.Prune = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Bring a store up to date with files.

    Only what has changed is read again, and only what no earlier run has embedded is embedded. What has
    vanished from the folders is removed from the store; what is there and now left out by an option stays, unless
    --prune is given. A run may be stopped at any time: the next one goes on.
    """
    output.configure(quiet=quiet, verbose=verbose)
    from embedmill.api import index as api
    from embedmill.api.settings import FileOptions, settings
    from embedmill.cli.runs import run_on_store

    flags = options.given(
        model=model,
        precision=precision,
        device=device,
        **options.prompts(document_prompt=document_prompt, query_prompt=query_prompt),
        executor=executor,
        workers=workers,
        preset=preset,
        max_load=max_load,
        sleep=sleep,
        max_memory_mb=max_memory_mb,
        max_documents_per_worker=max_documents_per_worker,
        batch_size=batch_size,
        store=store,
        schema=schema,
        db_timeout=db_timeout,
        cache=cache,
        chunk_tokens=chunk_tokens,
        include=include,
        exclude=exclude,
        hidden=hidden,
        generated=generated,
        max_file_size=max_file_size,
        encoding=encoding,
    )
    options.tell_store(flags, quiet=quiet)
    chosen = settings(flags, only=FileOptions.__annotations__)
    # A second one, for the total: the run's own counts what it leaves out.
    source = api.files(paths, chosen, least=0 if prune else 1)
    job = partial(api.index, paths, dry_run=dry_run, prune=prune, force=force, **flags)
    return run_on_store(job, source, flags, as_json=as_json, quiet=quiet)


def retry_failed(
    table: options.FilledTable = None,
    vector: options.FilledVector = None,
    metrics: options.Metrics = None,
    truncate: options.Truncate = None,
    max_text: options.MaxText = None,
    model: options.NotedModel = None,
    precision: options.Precision = None,
    device: options.Device = None,
    document_prompt: options.DocumentPrompt = None,
    query_prompt: options.QueryPrompt = None,
    executor: options.Executor = None,
    workers: options.Workers = None,
    preset: options.Preset = None,
    max_load: options.MaxLoad = None,
    sleep: options.Sleep = None,
    max_memory_mb: options.MaxMemory = None,
    max_documents_per_worker: options.MaxDocuments = None,
    batch_size: options.BatchSize = None,
    store: options.Store = None,
    schema: options.EitherSchema = None,
    db_timeout: options.DbTimeout = None,
    cache: options.Cache = None,
    chunk_tokens: options.ChunkTokens = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Try again what could not be read or embedded.

    Files are taken as the run that failed took them, with its --include, --exclude, --chunk-tokens and the like. What
    did not fail is not embedded again. What fails again stays on record, with one attempt more. Of a TABLE, new
    and changed rows are embedded as well, as ingest would.
    """
    output.configure(quiet=quiet, verbose=verbose)
    from embedmill.api import upkeep
    from embedmill.cli.runs import run_on_store

    flags = options.given(
        model=model,
        precision=precision,
        device=device,
        **options.prompts(document_prompt=document_prompt, query_prompt=query_prompt),
        executor=executor,
        workers=workers,
        preset=preset,
        max_load=max_load,
        sleep=sleep,
        max_memory_mb=max_memory_mb,
        max_documents_per_worker=max_documents_per_worker,
        batch_size=batch_size,
        store=store,
        schema=schema,
        db_timeout=db_timeout,
        cache=cache,
        chunk_tokens=chunk_tokens,
    )
    about = options.given(vector=vector) | options.of_rows(metrics, truncate, max_text)
    if table is not None:
        from embedmill.api.ingest import ingest

        if chunk_tokens is not None:
            raise UsageError("--chunk-tokens is for files: the text of a row is not cut")
        if force:
            raise UsageError("--force is for files: of a table, every row that has failed is read")
        again = partial(ingest, table, again=True, **about, **flags)
        return run_on_table(again, table, about, flags, retrying=True, as_json=as_json, quiet=quiet)
    options.check_store(about)
    options.tell_store(flags, quiet=quiet)
    documents = 0

    def job(**watching: Any) -> Report:
        nonlocal documents
        report = upkeep.retry_failed(force=force, **flags, **watching)
        documents = report.documents
        return report

    code = run_on_store(job, None, flags, retrying=True, as_json=as_json, quiet=quiet)
    if not documents and not quiet:
        hints.tell_tables("retry-failed", flags)
    return code
