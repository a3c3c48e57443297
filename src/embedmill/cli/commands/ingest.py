"""``embedmill ingest``."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embedmill.api.settings import RunOptions, StoreOptions
from embedmill.cli import options, output, parser
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from embedmill.core.reports import IngestReport
    from embedmill.core.rows import IndexOptions


_NAMED: Final = 20  # tables in an error

_OF_METRICS: Final = frozenset(
    (
        "table",
        "batch",
        "key",
        "text",
        "metrics",
        "metrics_only",
        "model",
        "document_prompt",
        "store",
        "schema",
        "db_timeout",
    )
)
"""What ``--metrics-only`` has a use for, beside what every command has."""


def register(commands: typer.Typer) -> None:
    """Add the command."""
    parser.add(
        commands,
        "embedmill ingest sentences --store postgresql://localhost/app --create",
        "embedmill ingest app.sentences 100 --store postgresql://ada@db/app --workers 4",
        "embedmill ingest sentences --store sqlite:app.db --text body --vector body_vector",
        "embedmill ingest sentences --metrics-only",
        notes=options.SETTINGS_NOTE + options.TABLE_NOTE,
    )(ingest)


Table = Annotated[
    str | None,
    typer.Argument(
        metavar="TABLE", help="The table, as in sentences, app.sentences or 'app.\"My Table\"'.", show_default=False
    ),
]


def ingest(
    *,
    context: typer.Context,
    table: Table = None,
    batch: Annotated[
        str | None,
        typer.Argument(metavar="BATCH", help="Rows claimed and written at once. Default: 500.", show_default=False),
    ] = None,
    key: options.Key = None,
    text: options.Text = None,
    vector: Annotated[
        str | None,
        options.option(
            "--vector",
            metavar="COLUMN",
            help="The column for the vectors. Default: the only one of such a type, or embedding.",
        ),
    ] = None,
    create: Annotated[
        bool,
        options.option("--create", help="Add the column for the vectors, of the model's dimension, if it is missing."),
    ] = False,
    halfvec: Annotated[
        bool,
        options.option("--halfvec", help="With --create: numbers of 16 bits, which take half the space (PostgreSQL)."),
    ] = False,
    overwrite: Annotated[
        bool,
        options.option("--overwrite", help="Embed all rows anew, whoever wrote the vectors that they have."),
    ] = False,
    index: Annotated[
        str | None,
        options.option(
            "--index",
            metavar="auto|hnsw|none",
            help="The index over the vectors (PostgreSQL), built when all are written; one that is there is kept. "
            "Default: auto, which is hnsw after the first fill of more than 10,000 rows.",
            autocompletion=lambda: ["auto", "hnsw", "none"],
        ),
    ] = None,
    m: Annotated[
        str | None, options.option("--m", metavar="N", help="Links of each vector in the index. Default: 16.")
    ] = None,
    ef_construction: Annotated[
        str | None,
        options.option("--ef-construction", metavar="N", help="Candidates looked at for each link. Default: 64."),
    ] = None,
    distance: Annotated[
        str | None,
        options.option(
            "--distance",
            metavar="cosine|l2|inner-product",
            help="What searches will sort by: the index serves no other. Default: cosine.",
            autocompletion=lambda: ["cosine", "l2", "inner-product"],
        ),
    ] = None,
    metrics: options.Metrics = None,
    metrics_only: Annotated[
        bool, options.option("--metrics-only", help="Write the metrics, and no vectors; needs no model.")
    ] = False,
    truncate: options.Truncate = None,
    max_text: options.MaxText = None,
    given: Annotated[
        RunOptions,
        options.Given(workers=options.WORKERS_OR_AUTO, store=options.DATABASE, schema=options.NOTES_SCHEMA),
    ],
    dry_run: options.DryRun = False,
    as_json: bool,
    quiet: bool,
) -> int:
    """Put a vector beside each text of a table.

    Rows that have a vector of their present text are left alone, so that a run may be stopped at any time and the same
    command goes on. Several may run at once, on several machines: each row is embedded by one of them.
    """
    from embedmill.api import ingest as ingestion
    from embedmill.pipelines.ingest.ingestor import BATCH

    if table is None:
        raise no_table(given)
    taken = options.of_rows(metrics, truncate, max_text)
    job: Callable[..., IngestReport]
    if metrics_only:
        if metrics is False:
            raise UsageError("--metrics-only and --no-metrics contradict each other: leave one out")
        options.refuse_others(context, _OF_METRICS, "--metrics-only writes no vectors")
        rows = None if batch is None else options.whole_number(batch, "BATCH")
        job = partial(ingestion.measure, table, rows, id=key or [], text=text, **given)
    else:
        wanted = _index_options(index, m, ef_construction, distance)
        job = partial(
            ingestion.ingest,
            table,
            options.whole_number(batch, "BATCH") if batch is not None else BATCH,
            id=key or [],
            text=text,
            vector=vector,
            create=create,
            halfvec=halfvec,
            overwrite=overwrite,
            index=wanted,
            dry_run=dry_run,
            **taken,
            **given,
        )
    return run_on_table(job, table, options.given(vector=vector) | taken, given, as_json=as_json, quiet=quiet)


def _index_options(
    method: str | None, m: str | None, ef_construction: str | None, distance: str | None
) -> IndexOptions:
    from embedmill.core.rows import IndexOptions

    chosen: dict[str, Any] = {
        name: options.whole_number(value, f"--{name.replace('_', '-')}")
        for name, value in (("m", m), ("ef_construction", ef_construction))
        if value is not None
    }
    chosen |= options.given(method=method, distance=distance)
    if method == "none" and len(chosen) > 1:
        raise UsageError("--index none builds no index: leave --m, --ef-construction and --distance out")
    return IndexOptions(**chosen)


def no_table(given: Mapping[str, Any]) -> UsageError:
    """The error where TABLE is left out; names the tables that there are."""
    from embedmill.api.read_settings import read_settings
    from embedmill.storage.registry import redact_url, table_names

    chosen = read_settings(options.place_of(given), StoreOptions)
    found = table_names(chosen.store, schema=chosen.schema, lock_timeout=chosen.db_timeout)
    there = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else "")
    where = output.masked(redact_url(chosen.store))
    return UsageError(f"TABLE is missing: {where} has {there}" if found else f"TABLE is missing: {where} has none")


def run_on_table(
    job: Callable[..., IngestReport],
    table: str,
    about: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    retrying: bool = False,
    as_json: bool,
    quiet: bool,
) -> int:
    """Do the job, which fills a table; report on it and give the exit code.

    Of the options given `about` are those about the table, `given` the settings.
    """
    from embedmill.api.ingest import table_failures
    from embedmill.cli.render import tables
    from embedmill.cli.render.summary import FAILURES_SHOWN
    from embedmill.cli.runs import next_commands, run

    def first_failures() -> list[str]:
        found = itertools.islice(table_failures(table, vector=about.get("vector"), **given), FAILURES_SHOWN)
        return [tables.describe(table, failure) for failure in found]

    return run(
        job,
        None,
        told=tables.summary,
        first_failures=first_failures,
        next_commands=next_commands({**given, **about}, table, retrying=retrying),
        as_json=as_json,
        quiet=quiet,
    )
