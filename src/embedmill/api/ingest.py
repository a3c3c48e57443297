"""The commands about tables, as functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final, Unpack

from embedmill.api.assemble import embedder_of, parts, with_prompts_of, without_rests
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import RunOptions, Settings, StoreOptions, check_options, names_of
from embedmill.core.checks import switches, text_or_none, whole_number
from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.core.interfaces.executor import Stoppable
from embedmill.core.interfaces.table import Table
from embedmill.core.reports import IngestProgress, IngestReport, TableStatus
from embedmill.core.rows import IndexOptions, RowFailure
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import locate, read_card
from embedmill.pipelines.ingest.ingestor import BATCH, Ingestor
from embedmill.pipelines.ingest.metrics import Encode, MetricsRun
from embedmill.pipelines.ingest.plan import estimate
from embedmill.pipelines.ingest.width import NARROWEST, WIDEST, Width
from embedmill.runtime import machine
from embedmill.storage.registry import open_table

log = logging.getLogger(__name__)

LONGEST_TEXT: Final = 100_000
"""Characters of a row's text: some eighty times what the default model reads. A vector of its beginning would not stand
for a longer one, which is rather a file than a row."""

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
    is not there, with `halfvec` in half precision. `overwrite` embeds rows too that have a vector, whoever wrote that,
    `again` those that have failed, with the model that the table was filled with. Texts of more than `max_text`
    characters fail; those of more tokens than the model reads are cut, or fail without `truncate`.
    `metrics` writes ``<table>_metrics`` too.

    `options` are those of the command (`embedmill.api.settings.RunOptions`); those not given, or None, come from the
    environment and ``embedmill.toml``. `on_progress` is called after every batch, `on_start` with what has a `stop()`
    that ends the run early.

    Raises `UsageError`, `ModelError`, `SpaceMismatch` or `StoreError`; what was written before an error stays.
    """
    whole_number("batch", batch)
    whole_number("max_text", max_text)
    switches(
        create=create,
        halfvec=halfvec,
        overwrite=overwrite,
        again=again,
        metrics=metrics,
        truncate=truncate,
        dry_run=dry_run,
    )
    if index is not None and not isinstance(index, IndexOptions):
        raise UsageError(f"index is {index!r}: give embedmill.IndexOptions(...), or leave it out")
    check_options(ingest, options, RunOptions)
    if halfvec and not create:
        raise UsageError("--halfvec is for the column that --create adds: give both, or leave it out")
    chosen = read_settings(options, RunOptions)
    with ExitStack() as stack:
        there = stack.enter_context(
            opened(
                table,
                chosen,
                id=id,
                text=text,
                vector=vector,
                create=create,
                halfvec=halfvec,
                longest=max_text,
                index=index,
            )
        )
        noted = there.noted()
        if again and options.get("model") is None and noted.model:
            chosen = replace(chosen, model=noted.model)
        chosen = with_prompts_of(noted, chosen, embedder_of(chosen))
        embedder, executor, cache, _ = parts(without_rests(chosen) if dry_run else chosen, stack)
        if dry_run:
            return estimate(there, embedder, executor, overwrite=overwrite, again=again, batch_size=chosen.batch_size)
        ingestor = Ingestor(
            there,
            embedder,
            executor,
            cache=cache,
            batch=batch,
            batch_size=chosen.batch_size,
            width=width(chosen),
            truncate=truncate,
            metrics=metrics,
            lock_patience=chosen.db_timeout,
        )
        on_start(ingestor)
        return ingestor.run(overwrite=overwrite, again=again, on_progress=on_progress)


def measure(
    table: str,
    batch: int | None = None,
    *,
    id: Sequence[str] = (),  # noqa: A002 - as the option
    text: str | None = None,
    on_progress: OnProgress = lambda _: None,
    on_start: OnStart = lambda _: None,
    **options: Unpack[RunOptions],
) -> IngestReport:
    """Write the metrics of a table's rows, and no vectors: ``embedmill ingest --metrics-only``.

    Needs no model: tokens are counted where the model's tokenizer is at hand, and stay NULL where it is not. Arguments
    and errors are those of `ingest`.
    """
    check_options(measure, options, RunOptions)
    if batch is not None:
        whole_number("batch", batch)
    chosen = read_settings(options, [*names_of(StoreOptions), "model", "document_prompt"])
    with opened(table, chosen, id=id, text=text, metrics_only=True) as there:
        run = MetricsRun(there, _tokenizer(chosen), batch)
        on_start(run)
        return run.run(on_progress)


def table_status(table: str, *, vector: str | None = None, **options: Unpack[StoreOptions]) -> TableStatus:
    """How a table stands that has been ingested: ``embedmill status TABLE``."""
    with opened(table, _place(options), vector=vector) as there:
        return there.status()


def table_failures(table: str, *, vector: str | None = None, **options: Unpack[StoreOptions]) -> Iterator[RowFailure]:
    """The rows that have failed, in the order of their keys."""
    with opened(table, _place(options), vector=vector) as there:
        yield from there.failures()


def _place(options: StoreOptions) -> Settings:
    return read_settings(options, StoreOptions)


@contextmanager
def opened(table: str, chosen: Settings, *, longest: int = LONGEST_TEXT, **options: Any) -> Iterator[Table]:
    """A table of the chosen database; `options` are those of `embedmill.storage.registry.open_table`."""
    if not isinstance(table, str) or not table.strip():
        raise UsageError(f"table is {table!r}: give its name, as text")
    text_or_none(text=options.get("text"), vector=options.get("vector"))
    keys = options.get("id", ())
    options |= {"id": [keys] if isinstance(keys, str) else list(keys)} if keys else {}
    text_or_none(**{f"id {number}": name for number, name in enumerate(options.get("id", ()))})
    there = open_table(
        chosen.store, table, schema=chosen.schema, db_timeout=chosen.db_timeout, longest=longest, **options
    )
    try:
        yield there
    finally:
        there.close()


def width(chosen: Settings) -> Width | None:
    """As wide as the user says; None for as it is measured to be best."""
    if not chosen.workers:
        return None
    ahead = min(max(chosen.workers, NARROWEST.ahead), machine.most_workers())
    return Width(ahead, min(chosen.workers, WIDEST.writers))


def _tokenizer(chosen: Settings) -> Encode | None:
    try:
        files = locate(chosen.model, fetch=False)
        card = read_card(files, document_prompt=chosen.document_prompt)
        return OpenVINOEmbedder(files.name, card, precision="f32").encode
    except EmbedmillError as error:
        log.warning("tokens are not counted, since the model's tokenizer is not at hand: %s", error)
        return None
