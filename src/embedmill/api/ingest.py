"""The commands about tables, as functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Unpack

from embedmill.api.assemble import (
    Components,
    build_components,
    check_test_model,
    embedder_of,
    with_prompts_of,
    without_rests,
)
from embedmill.api.beside import Beside, check_swap, open_beside
from embedmill.api.embedders import make_embedder
from embedmill.api.profiling import profiled
from embedmill.api.read_settings import read_settings
from embedmill.api.reembed import take_over_table
from embedmill.api.run_logs import remembered
from embedmill.api.settings import MetricsOptions, RunOptions, Settings, StoreOptions, check_options
from embedmill.api.stores import open_chosen_table
from embedmill.core.checks import switches, whole_number
from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.core.interfaces.executor import Stoppable
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import IndexOptions, RowFailure
from embedmill.core.table_reports import IngestProgress, IngestReport, TableStatus
from embedmill.pipelines.ingest.dry_run import estimate
from embedmill.pipelines.ingest.ingestor import BATCH, Ingestor
from embedmill.pipelines.ingest.metrics import Encode, MetricsRun
from embedmill.pipelines.ingest.width import NARROWEST, WIDEST, Width
from embedmill.runtime import machine
from embedmill.storage.driver import LONGEST_TEXT
from embedmill.storage.registry import is_server

log = logging.getLogger(__name__)

OnProgress = Callable[[IngestProgress], None]
OnStart = Callable[[Stoppable], None]


def ingest(
    table: str,
    batch: int = BATCH,
    *,
    id: Sequence[str] = (),  # noqa: A002 - as the option
    text: str | None = None,
    vector: str | None = None,
    create: bool = False,
    halfvec: bool = False,
    overwrite: bool = False,
    again: bool = False,
    into: str | None = None,
    swap: bool = False,
    metrics: bool = True,
    truncate: bool = True,
    max_text: int = LONGEST_TEXT,
    index: IndexOptions | None = None,
    dry_run: bool = False,
    on_progress: OnProgress = lambda _: None,
    on_start: OnStart = lambda _: None,
    **options: Unpack[RunOptions],
) -> IngestReport:
    """Fill the vectors of a table's rows: the command ``embedmill ingest``.

    Rows that have a vector of their present text are left alone. `batch` rows are claimed, and written, at once.
    `id`, `text` and `vector` name columns that are not found by themselves; `create` adds the vector column where it
    is not there, with `halfvec` in half precision. `overwrite` embeds rows too that have a vector, `again` those that
    have failed, with the table's own model. `into` names a column to fill beside one of another model, with which it
    changes names at the end (`swap`, which it needs). Texts of more than `max_text` characters fail; those of more
    tokens than the model reads are cut, or fail without `truncate`. `metrics` writes ``<table>_metrics`` too. `options`
    not given, or None, come from the environment and ``embedmill.toml``. `on_progress` is called after every batch,
    `on_start` with what has a `stop()`. Raises `UsageError`, `ModelError`, `SpaceMismatch` or `StoreError`.
    """
    switches(overwrite=overwrite, again=again, metrics=metrics, truncate=truncate, dry_run=dry_run)
    column: dict[str, Any] = {"create": create, "halfvec": halfvec, "index": index}
    chosen = check_ingest(batch, max_text=max_text, into=into, swap=swap, again=again, **column, **options)
    columns = {"id": id, "text": text, "vector": vector, **column}
    with ExitStack() as stack:
        stages = stack.enter_context(profiled(chosen, options, dry_run=dry_run))
        opened = stack.enter_context(open_chosen_table(table, chosen, longest=max_text, beside=into, **columns))
        if again:
            if options.get("model") is None and (model := opened.noted().model):
                chosen = replace(chosen, model=model)
            check_test_model(chosen, options)
        chosen, embedder = with_prompts_of(opened.noted(), chosen, embedder_of(chosen))
        parts = build_components(without_rests(chosen) if dry_run else chosen, embedder, stack)
        if not (dry_run or overwrite):
            take_over_table(opened, embedder)
        like = {"index": index, "longest": max_text}
        opened, beside = open_beside(table, opened, into, embedder.fingerprint, chosen, stack, like)
        if dry_run:
            size = chosen.batch_size
            return estimate(opened, embedder, parts.executor, batch_size=size, overwrite=overwrite, again=again)
        ingestor = make_ingestor(opened, parts, chosen, batch=batch, truncate=truncate, metrics=metrics, stages=stages)
        on_start(ingestor)
        with remembered(chosen, "retry-failed" if again else "ingest", table) as run_log:
            watched = run_log.watch(on_progress, parts.executor.stats)
            report = run_log.finish(ingestor.run(on_progress=watched, overwrite=overwrite, again=again))
        return _finished(report, index, beside)


def _finished(report: IngestReport, asked: IndexOptions | None, beside: Beside | None) -> IngestReport:
    """Swap the columns, where there are two; say where an index was described and none was built."""
    if asked is not None and asked.method == "auto" and not (report.index or report.interrupted):
        server = is_server(report.store)
        when = "auto builds it after the first fill of a large table, --index hnsw in any case"
        log.warning(
            "no index was built, for which --m, --ef-construction and --distance are: %s",
            when if server else "an SQLite table has none",
        )
    return report if beside is None else beside.swap(report)


def make_ingestor(table: Table, parts: Components, chosen: Settings, **how: Any) -> Ingestor:
    """What fills the table; `how` are further arguments of `Ingestor`."""
    width = None  # as it is measured to be best
    if chosen.workers:
        ahead = min(max(chosen.workers, NARROWEST.ahead), machine.most_workers())
        width = Width(ahead, min(chosen.workers, WIDEST.writers))
    how |= {"cache": parts.cache, "batch_size": chosen.batch_size, "width": width, "lock_patience": chosen.db_timeout}
    return Ingestor(table, parts.embedder, parts.executor, **how)


def check_ingest(
    batch: int = BATCH,
    *,
    create: bool = False,
    halfvec: bool = False,
    again: bool = False,
    into: str | None = None,
    swap: bool = False,
    max_text: int = LONGEST_TEXT,
    index: IndexOptions | None = None,
    **options: Unpack[RunOptions],
) -> Settings:
    """The settings of an `ingest` with these arguments. Raises `UsageError` for what it refuses before it begins."""
    check_options(ingest, options, RunOptions)
    whole_number("batch", batch)
    whole_number("max_text", max_text)
    switches(create=create, halfvec=halfvec)
    if index is not None and not isinstance(index, IndexOptions):
        raise UsageError(f"index is {index!r}: give embedmill.IndexOptions(...), or leave it out")
    if halfvec and not create:
        raise UsageError("--halfvec is for the column that --create adds: give both, or leave it out")
    check_swap(into, swap=swap, create=create, halfvec=halfvec)
    chosen = read_settings(options, RunOptions)
    if not again:  # else the model is the table's
        check_test_model(chosen, options)
    return chosen


def measure(
    table: str,
    batch: int | None = None,
    *,
    id: Sequence[str] = (),  # noqa: A002 - as the option
    text: str | None = None,
    on_progress: OnProgress = lambda _: None,
    on_start: OnStart = lambda _: None,
    **options: Unpack[MetricsOptions],
) -> IngestReport:
    """Write the metrics of a table's rows, and no vectors: ``embedmill ingest --metrics-only``.

    Needs no model: tokens are counted where the model's tokenizer is at hand, and stay NULL where it is not. Arguments
    and errors are those of `ingest`.
    """
    chosen = check_measure(batch, **options)
    with open_chosen_table(table, chosen, id=id, text=text, metrics_only=True) as opened:
        run = MetricsRun(opened, _tokenizer(chosen), batch)
        on_start(run)
        return run.run(on_progress)


def check_measure(batch: int | None = None, **options: Unpack[MetricsOptions]) -> Settings:
    """The settings of a `measure` with these arguments. Raises `UsageError` for what it refuses before it begins."""
    check_options(measure, options, MetricsOptions)
    if batch is not None:
        whole_number("batch", batch)
    return read_settings(options, MetricsOptions)


def table_status(table: str, *, vector: str | None = None, **options: Unpack[StoreOptions]) -> TableStatus:
    """How a table stands that has been ingested: ``embedmill status TABLE``."""
    with open_chosen_table(table, read_settings(options, StoreOptions), vector=vector) as opened:
        return opened.status()


def table_failures(table: str, *, vector: str | None = None, **options: Unpack[StoreOptions]) -> Iterator[RowFailure]:
    """The rows that have failed, in the order of their keys."""
    with open_chosen_table(table, read_settings(options, StoreOptions), vector=vector) as opened:
        yield from opened.failures()


def _tokenizer(chosen: Settings) -> Encode | None:
    try:
        return make_embedder(chosen.model, precision="f32", document_prompt=chosen.document_prompt, fetch=False).encode
    except EmbedmillError as error:
        log.warning("tokens are not counted, since the model's tokenizer is not at hand: %s", error)
        return None
