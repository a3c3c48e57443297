"""``embedmill ingest``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embedmill.api.settings import MetricsOptions, RunOptions, names_of, option_name
from embedmill.cli import options, parser
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmill.core.rows import IndexOptions
    from embedmill.core.table_reports import IngestReport


_OF_METRICS: Final = frozenset(["table", "batch", "key", "text", "metrics", "metrics_only", *names_of(MetricsOptions)])
"""What ``--metrics-only`` has a use for, beside what every command has."""


Table = Annotated[
    str | None, options.argument("TABLE", "The table, as in sentences, app.sentences or 'app.\"My Table\"'.")
]
Batch = Annotated[str | None, options.argument("BATCH", "Rows claimed and written at once. Default: 500.")]
Vector = Annotated[
    str | None,
    options.option(
        "--vector",
        metavar="COLUMN",
        help="The column for the vectors. Default: the only one of such a type, or embedding.",
    ),
]
Create = Annotated[
    bool, options.option("--create", help="Add the column for the vectors, of the model's dimension, if it is missing.")
]
Halfvec = Annotated[
    bool, options.option("--halfvec", help="With --create: numbers of 16 bits, which take half the space (PostgreSQL).")
]
Overwrite = Annotated[
    bool, options.option("--overwrite", help="Embed all rows anew, whoever wrote the vectors that they have.")
]
Into = Annotated[
    str | None,
    options.option(
        "--into",
        metavar="COLUMN",
        help="Where the column has vectors of another model: a second column to fill beside it, which is added. With "
        "--swap.",
    ),
]
Swap = Annotated[
    bool,
    options.option(
        "--swap",
        help="When the column of --into is filled, and has its index: give it the name of the other, and that one its "
        "name, all at once.",
    ),
]
Index = Annotated[
    str | None,
    options.option(
        "--index",
        metavar="auto|hnsw|none",
        help="The index over the vectors (PostgreSQL), built when all are written; one that is there is kept. "
        "Default: auto, which is hnsw after the first fill of more than 10,000 rows.",
        autocompletion=lambda: ["auto", "hnsw", "none"],
    ),
]
M = Annotated[str | None, options.option("--m", metavar="N", help="Links of each vector in the index. Default: 16.")]
EfConstruction = Annotated[
    str | None,
    options.option("--ef-construction", metavar="N", help="Candidates looked at for each link. Default: 64."),
]
Distance = Annotated[
    str | None,
    options.option(
        "--distance",
        metavar="cosine|l2|inner-product",
        help="What searches will sort by: the index serves no other. Default: cosine.",
        autocompletion=lambda: ["cosine", "l2", "inner-product"],
    ),
]
MetricsOnly = Annotated[
    bool, options.option("--metrics-only", help="Write the metrics, and no vectors; needs no model.")
]


@parser.command(
    "embedmill ingest sentences --store postgresql://localhost/app --create",
    "embedmill ingest app.sentences 100 --store postgresql://ada@db/app --workers 4",
    "embedmill ingest sentences --store sqlite:app.db --text body --vector body_vector",
    "embedmill ingest sentences --model BAAI/bge-small-en-v1.5 --into embedding_new --swap",
    "embedmill ingest sentences --metrics-only",
    notes=options.SETTINGS_NOTE + options.TABLE_NOTE,
)
def ingest(
    *,
    context: typer.Context,
    table: Table = None,
    batch: Batch = None,
    key: options.Key = None,
    text: options.Text = None,
    vector: Vector = None,
    create: Create = False,
    halfvec: Halfvec = False,
    overwrite: Overwrite = False,
    into: Into = None,
    swap: Swap = False,
    index: Index = None,
    m: M = None,
    ef_construction: EfConstruction = None,
    distance: Distance = None,
    metrics: options.Metrics = None,
    metrics_only: MetricsOnly = False,
    truncate: options.Truncate = None,
    max_text: options.MaxText = None,
    given: Annotated[
        RunOptions, options.Given(workers=options.WORKERS_OR_AUTO, store=options.DATABASE, schema=options.NOTES_SCHEMA)
    ],
    dry_run: options.DryRun = False,
    as_json: bool,
) -> int:
    """Put a vector beside each text of a table.

    Rows that have a vector of their present text are left alone, so that a run may be stopped at any time and the same
    command goes on. Several may run at once, on several machines: each row is embedded by one of them.
    """
    from embedmill.api import ingest as ingestion
    from embedmill.cli.runs import run_on_table

    if table is None:
        raise options.missing_table(given)
    taken = options.of_rows(metrics, truncate, max_text)
    rows: dict[str, Any] = {"id": key or [], "text": text}
    rows |= {} if batch is None else {"batch": options.whole_number(batch, "BATCH")}
    job: Callable[..., IngestReport]
    if metrics_only:
        if metrics is False:
            raise UsageError("--metrics-only and --no-metrics contradict each other: leave one out")
        parser.refuse_others(context, _OF_METRICS, "--metrics-only writes no vectors")
        job = partial(ingestion.measure, table, **rows, **options.given(**given))
    else:
        column: dict[str, Any] = {"vector": vector, "create": create, "halfvec": halfvec, "overwrite": overwrite}
        column |= {"into": into, "swap": swap}
        built = _index_options(index, m, ef_construction, distance)
        job = partial(ingestion.ingest, table, index=built, dry_run=dry_run, **rows, **column, **taken, **given)
    return run_on_table(job, table, options.given(vector=vector) | taken, given, as_json=as_json)


def _index_options(
    method: str | None, m: str | None, ef_construction: str | None, distance: str | None
) -> IndexOptions | None:
    """What is asked of an index; None for what is done where nothing is said of it."""
    from embedmill.core.rows import IndexOptions

    chosen: dict[str, Any] = {
        name: options.whole_number(value, option_name(name))
        for name, value in (("m", m), ("ef_construction", ef_construction))
        if value is not None
    }
    chosen |= options.given(method=method, distance=distance)
    if method == "none" and len(chosen) > 1:
        raise UsageError("--index none builds no index: leave --m, --ef-construction and --distance out")
    return None if chosen in ({}, {"method": "auto"}) else IndexOptions(**chosen)
