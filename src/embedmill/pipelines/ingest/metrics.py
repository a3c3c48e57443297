"""What is counted of a row's text, and the rows that have no such metrics, or those of an older text."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from embedmill.core.documents import text_hash
from embedmill.core.errors import Stopped
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import DIGEST_SIZE, LARGE_PAGE, Counts, Key, Metrics
from embedmill.core.table_reports import IngestProgress, IngestReport
from embedmill.core.vectors import TokenIds
from embedmill.engine.stopping import Stopping
from embedmill.pipelines.ingest.report import table_report
from embedmill.runtime.streams import ordered, prefetch

_FIRST_PAGE: Final = 250  # rows
_LARGEST_PAGE: Final = 4000
_WRITERS: Final = 2

Encode = Callable[..., Sequence[TokenIds]]


def normalised(text: str) -> str:
    """The text in one form for all spellings that read alike: NFKC, case folded, white space as single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def measure(text: str, tokens: int | None) -> Metrics:
    """Count a text; `tokens` is what the model's tokenizer makes of it, special tokens included."""
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "replace"), digest_size=DIGEST_SIZE).digest()
    return Metrics(len(text), len(text.split()), tokens, digest)


def measure_rows(
    table: Table,
    encode: Encode | None,
    show: Callable[[int], None],
    stopped: Callable[[], bool],
    batch: int | None = None,
) -> int:
    """Measure the rows that need it, then count how often each text stands in the table.

    `batch` rows are read, and written, at once; None: as many as turn out to be quick.
    `encode` is an embedder's, or None where no tokenizer is at hand. `show` is told after each page how many rows are
    measured. Returns how many were. Raises `StoreError`.
    """
    rows = 0
    with prefetch(_pages(table, batch), depth=2) as pages:

        def measured() -> Iterator[list[tuple[Key, bytes, Metrics]]]:
            with suppress(Stopped):
                for page in pages:
                    if stopped():
                        return
                    texts = [text for _, text in page]
                    tokens = [len(ids) for ids in encode(texts, truncate=False)] if encode else [None] * len(page)
                    yield [
                        (key, text_hash("", text), measure(text, number))
                        for (key, text), number in zip(page, tokens, strict=True)
                    ]

        for page, _ in ordered(table.metrics.write, measured(), threads=_WRITERS):
            rows += len(page)
            show(rows)
    if not stopped():
        with suppress(Stopped):
            table.metrics.finish()
    return rows


class MetricsRun:
    """A run that writes metrics and nothing else."""

    def __init__(self, table: Table, encode: Encode | None, batch: int | None = None) -> None:
        self._batch = batch
        self._table = table
        self._encode = encode
        self._stopping = Stopping(table)

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; what is measured is written."""
        self._stopping.stop()

    def run(self, on_progress: Callable[[IngestProgress], None] = lambda _: None) -> IngestReport:
        """Measure what needs it. Raises `StoreError`."""
        started = time.perf_counter()
        table = self._table
        table.metrics.prepare()
        try:
            stands = table.counts()
        except Stopped:
            stands = Counts(0, 0, 0, 0, 0)

        def show(rows: int) -> None:
            on_progress(IngestProgress(rows, stands.rows, 0, 0, time.perf_counter() - started))

        measured = measure_rows(table, self._encode, show, self._stopping.asked, self._batch)
        seconds = time.perf_counter() - started
        return table_report(
            table,
            stands,
            Counter(measured=measured),
            None,
            None,
            stages={},
            seconds=seconds,
            unchanged=max(stands.rows - measured, 0),
            removed=0,
            interrupted=self._stopping.asked(),
        )


def _pages(table: Table, batch: int | None = None) -> Iterator[list[tuple[Key, str]]]:
    after: Key | None = None
    limit = batch or _FIRST_PAGE
    while page := table.metrics.missing(after, limit):
        yield page
        after = page[-1][0]
        characters = sum(len(text) for _, text in page)
        if characters > LARGE_PAGE:
            limit = max(limit // 2, 1)
        elif characters < LARGE_PAGE // 2:
            limit = batch or min(2 * limit, _LARGEST_PAGE)
