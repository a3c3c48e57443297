"""``embedmill bench``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from embedmill.api.settings import RunOptions
from embedmill.cli import exit_codes, options, output, parser

if TYPE_CHECKING:
    from embedmill.bench.ingest import Bench, Tried


Table = Annotated[str | None, options.argument("TABLE", "The table to be filled, as in app.sentences.")]
Batch = Annotated[
    str,
    options.option(
        "--batch", metavar="N", help="Rows claimed and written at once; four times as many are tried, too. Default: 50."
    ),
]
MaxWorkers = Annotated[
    str, options.option("--max-workers", metavar="N", help="Try 1, 2, 4 ... up to so many workers. Default: 8.")
]
Rows = Annotated[
    str,
    options.option("--rows", metavar="N", help="Rows that are copied, and filled with each setting. Default: 1000."),
]


@parser.command(
    "embedmill bench ingest sentences --store postgresql://localhost/app",
    "embedmill bench ingest sentences --batch 100 --max-workers 4 --rows 5000",
    notes="--store, --model, --precision and --executor are also read from the environment (EMBEDMILL_STORE) and "
    "from ./embedmill.toml.",
)
def ingest(
    *,
    table: Table = None,
    batch: Batch = "50",
    max_workers: MaxWorkers = "8",
    rows: Rows = "1000",
    key: options.Key = None,
    text: options.Text = None,
    given: Annotated[RunOptions, options.Given("model", "precision", "executor", "store", store=options.DATABASE)],
    as_json: bool,
) -> int:
    """Find the workers and the batch that fill a table soonest.

    Its first rows are copied to a new table in the same database, or for SQLite in a file of its own, which is filled
    with each setting and removed afterwards. Yours is only read.
    """
    options.check_quiet("the figures", as_json=as_json)
    if table is None:
        raise options.missing_table(given)
    from embedmill.api.read_settings import read_settings
    from embedmill.bench.ingest import bench_ingest
    from embedmill.cli.render import hints
    from embedmill.cli.signals import StopOnSignal

    def show(tried: Tried) -> None:
        if not as_json and output.is_terminal(sys.stderr):
            output.complain(f"{tried.workers} workers, {tried.batch} rows at once: {tried.rows_per_second:,.0f} rows/s")

    with StopOnSignal() as stopping:
        found = bench_ingest(
            table,
            batch=options.whole_number(batch, "--batch"),
            max_workers=options.whole_number(max_workers, "--max-workers"),
            rows=options.whole_number(rows, "--rows"),
            id=key or [],
            text=text,
            on_setting=show,
            on_start=stopping.watch,
            **given,
        )
    if as_json:
        output.emit(found.to_dict())
    elif found.tried:
        output.say(_table(found))
        line = hints.with_model(
            read_settings(given, ("model",)).model,
            *("ingest", found.table, found.best.batch, "--workers", found.best.workers),
            given={**given, "id": key, "text": text},
            kept=("id", "text", "model", "precision", "executor", "store"),
        )
        output.say(f"best: {line}")
    if found.interrupted:
        output.complain("interrupted: the copy is removed")
        return exit_codes.INTERRUPTED
    return exit_codes.DONE


bench = parser.group(ingest, name="bench", help="Measure this machine, this model and this database.")


def _table(bench: Bench) -> str:
    lines = ["workers  batch   rows/s  speed-up  reading  model  writing"]
    lines += [
        f"{each.workers:7,}  {each.batch:5,}  {each.rows_per_second:7,.0f}  {each.speed_up:7.2f}x  "
        f"{each.reading:7.0%}  {each.model:5.0%}  {each.writing:7.0%}"
        for each in bench.tried
    ]
    lines.append(f"each over {bench.rows:,} rows of {bench.table}; shares of the time by what was waited for")
    return "\n".join(lines)
