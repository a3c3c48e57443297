"""The story of a run over a table.

    Table.claim -> tokenise, hash                                   (a thread)
                -> known vectors: this run's, the cache's
                -> batches of nearly one length -> Executor -> validate   (the executor's threads or processes)
                -> Table.write: vectors, metrics and marks          (some threads, a connection each)

All of this runs at once; between the stages lie queues of a few pages. A row is done in the transaction that writes
its vector, so that a run may be killed at any moment. Rows that other runs hold are waited for at the end: should one
of them die, this one takes over what it held.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from embedmill.core.checks import whole_number
from embedmill.core.errors import Stopped
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import LARGE_PAGE, Key, Row, shown
from embedmill.core.table_reports import IngestProgress, IngestReport
from embedmill.core.vectors import EMPTY_TEXT, Cause
from embedmill.engine.dedup import Deduplicator
from embedmill.engine.run import embed_unknown
from embedmill.engine.stopping import Stopping
from embedmill.engine.unread import is_unread
from embedmill.pipelines.ingest.metrics import measure, measure_rows
from embedmill.pipelines.ingest.report import table_report
from embedmill.pipelines.ingest.width import NARROWEST, Width
from embedmill.pipelines.ingest.writers import RowPiece, State, Tuning, Writers
from embedmill.runtime.channel import Channel, Closed
from embedmill.runtime.stages import Stages

log = logging.getLogger(__name__)

BATCH: Final = 500
"""Rows that are claimed, and written, at once: some 0.8 MB of vectors of 384 numbers. Fewer cost round trips, more
memory, and more work that a kill repeats."""

_PASSES: Final = 10
"""Times that texts which change while they are embedded are embedded anew; what changes still is for the next run."""

LOCK_PATIENCE: Final = 60.0
"""Seconds that rows which others have locked are waited for, when all else is done."""

_SAY_AFTER: Final = 10.0  # seconds that other runs are waited for

_LOOK_AGAIN: Final = (0.2, 2.0)  # seconds between two looks at what other runs hold: at first, and at most

Page = Sequence["RowPiece | tuple[Row, Cause]"]
"""Rows that have been claimed together: those to be embedded, and those that cannot be."""


class Ingestor:
    """Fills a table's vectors, embedding only what is not known yet."""

    def __init__(
        self,
        table: Table,
        embedder: TokenEmbedder,
        executor: Executor,
        *,
        cache: VectorCache | None = None,
        batch: int = BATCH,
        batch_size: int | None = None,
        width: Width | None = None,
        truncate: bool = True,
        metrics: bool = True,
        lock_patience: float = LOCK_PATIENCE,
        stages: Callable[[], Stages] = Stages,
    ) -> None:
        """`batch` rows are claimed, and written, at once; `batch_size` limits the texts in a call of the model.

        `width` is how many pages wait and how many threads write; None: as it is measured to be best. Texts longer
        than the model reads are cut, and counted, or fail without `truncate`. Rows that others have locked are waited
        for at the end, for at most `lock_patience` seconds. `stages` gives what a run counts in.
        """
        for name, number in (("batch", batch), ("batch_size", batch_size)):
            if number is not None:
                whole_number(name, number)
        self._table = table
        self._embedder = embedder
        self._executor = executor
        self._cache = cache
        self._batch = batch
        self._batch_size = batch_size
        self._width = width
        self._truncate = truncate
        self._metrics = metrics
        self._lock_patience = lock_patience
        self._stages = stages
        self._stopping = Stopping(executor, table, cache)

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; what has been embedded is written."""
        self._stopping.stop()

    def run(
        self,
        *,
        overwrite: bool = False,
        again: bool = False,
        on_progress: Callable[[IngestProgress], None] = lambda _: None,
    ) -> IngestReport:
        """Fill what needs a vector, then build the index that the table was opened for.

        `overwrite` and `again` are those of `Table.bind`. Raises `SpaceMismatch` and `StoreError`; what was written
        before stays.
        """
        started = time.perf_counter()
        table = self._table
        if self._metrics:
            table.metrics.check()  # before a column is added
        table.bind(self._embedder.fingerprint, self._embedder.name, overwrite=overwrite, again=again)
        if self._metrics:
            table.metrics.prepare()
        state = State(table, self._executor, started, on_progress, self._stages())
        state.count()
        with Writers(table, state, self._width or NARROWEST, self._batch) as writers, suppress(Stopped):
            self._passes(state, writers)
        locked, removed, index = writers.give_up(), 0, ""
        if locked and not self._stopping.asked():
            log.warning(
                "%s: %s locked by another session%s: run again when it has ended",
                table.name,
                "1 row is" if locked == 1 else f"{locked:,} rows are",
                f" ({who})" if (who := table.lockers()) else "",
            )
        stopped = self._stopping.asked
        with suppress(Stopped):
            if not stopped():
                removed = table.prune()
            if self._metrics and not stopped():
                state.counts["measured"] += measure_rows(
                    table, self._embedder.encode, lambda rows: state.show(f"{rows:,} rows measured"), stopped
                )
            if not stopped():
                index = table.build_index(state.show, stopped)
        interrupted = stopped()
        if not interrupted:
            table.mark_complete()
        return self._report(state, writers, removed=removed, index=index, locked=locked, interrupted=interrupted)

    def _passes(self, state: State, writers: Writers) -> None:
        """Go through the table until nothing is left that this run could do."""
        wait, longest = _LOOK_AGAIN
        changed, passes = -1, 0
        until, waited_for_others = math.inf, 0.0
        while not self._stopping.asked():
            if passes < _PASSES and state.counts["changed"] > changed:
                changed, passes = state.counts["changed"], passes + 1
                self._pass(state, writers)
                state.show()
            elif self._table.claimed_by_others():  # should their run die, they are anybody's
                state.show("waiting for rows that another run holds")
                waited_for_others = self._say_whom(waited_for_others)
                self._stopping.wait(wait)
                wait = min(2 * wait, longest)
                self._pass(state, writers)
            elif writers.locked and time.monotonic() < until:
                until = min(until, time.monotonic() + self._lock_patience)
                state.show(f"waiting for {writers.locked:,} rows that another session has locked")
                self._stopping.wait(min(wait, self._lock_patience))
                wait = min(2 * wait, longest)
                writers.try_again()
            else:
                self._say_what_changes(state.counts["changed"] - changed)
                return

    def _say_what_changes(self, rows: int) -> None:
        """Say that texts have changed in each pass, and in the last one."""
        if rows > 0:
            log.warning(
                "%s: the text of %s each time that it was embedded: run again when it has settled, or see whether a "
                "trigger rewrites it with every change of the row",
                self._table.name,
                "1 row changed" if rows == 1 else f"{rows:,} rows changed",
            )

    def _say_whom(self, since: float) -> float:
        """Say which other run is waited for, once, where that takes long; gives when the waiting has begun."""
        now = time.monotonic()
        if not since:
            return now
        if now > since + _SAY_AFTER:
            who = self._table.lockers(runs=True)
            log.warning("%s: waiting for rows that another run holds%s", self._table.name, f": {who}" if who else "")
            return math.inf
        return since

    def _pass(self, state: State, writers: Writers) -> None:
        """Go through the table once."""
        pages: Channel[Page] = Channel((self._width or NARROWEST).ahead)
        tuning = Tuning(pages, writers) if self._width is None else None
        reader = threading.Thread(target=self._read, args=[state, pages], name="embedmill-read", daemon=True)
        items = Deduplicator(
            writers,
            self._embedder.fingerprint,
            model=self._embedder.name,
            cache=self._cache,
            counts=state.counts,
            stopped=self._stopping.asked,
            stages=state.stages,
        )

        def on_batch() -> None:
            items.keep_new()
            state.show()
            if tuning is not None:
                tuning.adapt()

        before = state.counts["chunks"]
        reader.start()
        try:
            # A text waits for others of its length for at most so many: that bounds what is held in memory.
            patience = self._batch * max(self._executor.workers, 2)
            embed_unknown(
                self._pieces(state, pages, writers),
                items,
                self._executor,
                batch_size=self._batch_size,
                patience=patience,
                on_batch=on_batch,
            )
        finally:
            pages.fail(Closed())
            reader.join()
            state.stages.add("wait for rows", pages.waited_to_get)
        writers.flush()
        if state.counts["chunks"] > before:  # else what is shown, such as what is waited for, still holds
            state.show()

    def _pieces(self, state: State, pages: Channel[Page], writers: Writers) -> Iterator[Sequence[RowPiece]]:
        """The rows to be embedded, page by page; the others fail."""
        while not self._stopping.asked():
            try:
                page = pages.get()
            except Closed:
                return
            yield [each for each in page if isinstance(each, RowPiece)]
            for each in page:
                if not isinstance(each, RowPiece):
                    state.counts.update(chunks=1, failed=1)
                    writers.fail(*each)
            state.show()

    # The reader's thread

    def _read(self, state: State, pages: Channel[Page]) -> None:
        after: Key | None = None
        limit = self._batch
        try:
            while not self._stopping.asked():
                started = time.perf_counter()
                rows = self._table.claim(after, limit)
                state.stages.add("read", time.perf_counter() - started)
                if not rows:
                    break
                after = rows[-1].key
                size = sum(len(row.text) for row in rows) / len(rows)
                limit = min(self._batch, max(round(LARGE_PAGE / size), 1)) if size else self._batch
                pages.put(self._page(state, rows))
            pages.end()
        except Closed:
            pass
        except Stopped:
            pages.end()
        except BaseException as error:  # handed to the thread that asks for the rows
            pages.fail(error)

    def _page(self, state: State, rows: Sequence[Row]) -> Page:
        """The rows tokenised; those that cannot be embedded with their cause."""
        started = time.perf_counter()
        causes = [row.cause or _unfit(row.text) for row in rows]
        sound = [row for row, cause in zip(rows, causes, strict=True) if cause is None]
        whole = iter(self._embedder.encode([row.text for row in sound], truncate=False))
        page: list[RowPiece | tuple[Row, Cause]] = []
        most = self._embedder.max_tokens
        for row, cause in zip(rows, causes, strict=True):
            if cause is not None:
                page.append((row, cause))
                continue
            ids = next(whole)
            tokens = len(ids)
            if tokens > most:
                if not self._truncate:
                    page.append((row, Cause("TooLong", f"the text has {tokens:,} tokens, the model reads {most:,}")))
                    continue
                state.counts["truncated"] += 1
                (ids,) = self._embedder.encode([row.text])
            state.counts["unknown"] += is_unread(self._embedder, ids)
            page.append(RowPiece(row, row.hash, ids, measure(row.text, tokens) if self._metrics else None))
        state.stages.add("tokenise", time.perf_counter() - started)
        return page

    def _report(self, state: State, writers: Writers, *, interrupted: bool, **outcome: Any) -> IngestReport:
        stands = state.counted(stopped=interrupted)
        return table_report(
            self._table,
            stands,
            state.total(),
            self._embedder,
            self._executor,
            stages=state.stages,
            seconds=time.perf_counter() - state.started,
            unchanged=stands.unchanged,
            last_key=", ".join(shown(state.last.key)) if state.last else "",
            writers=writers.most,
            interrupted=interrupted,
            **outcome,
        )


def _unfit(text: str) -> Cause | None:
    """Why a text cannot be embedded."""
    if not text or text.isspace():
        return Cause(EMPTY_TEXT, "the text is empty")
    if "\0" in text:
        return Cause("NulCharacter", "the text has a NUL character: it is no text, or was damaged")
    return None
