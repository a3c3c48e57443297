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

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from embedmill.errors import EmbedmillError, RowsRefused
from embedmill.flow import NARROWEST, Closed, Queue, Waits, Width, next_width
from embedmill.interfaces import Embedder, Executor, Table, VectorCache
from embedmill.matching import Matching
from embedmill.measuring import measure_rows
from embedmill.metrics import measure
from embedmill.records import Cause, TokenIds, Vector
from embedmill.rows import Counts, Filled, IngestProgress, IngestReport, Key, Metrics, Row

BATCH: Final = 500
"""Rows that are claimed, and written, at once: some 0.8 MB of vectors of 384 numbers. Fewer cost round trips, more
memory, and more work that a kill repeats."""

_TO_FINISH: Final = 5.0
"""Seconds that what is in flight has when a run is stopped."""

_PASSES: Final = 10
"""Times that texts which change while they are embedded are embedded anew; what changes still is for the next run."""

_MEASURED_EVERY: Final = 1.0  # seconds

_LOOK_AGAIN: Final = (0.2, 2.0)  # seconds between two looks at what other runs hold: at first, and at most


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A row with all that is needed to embed it."""

    row: Row
    hash: bytes
    ids: TokenIds
    metrics: Metrics | None

    @property
    def input(self) -> str:
        return self.row.text


_Page = Sequence["_Piece | tuple[Row, Cause]"]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A row that has its vector, and where that came from."""

    name: str  # "embedded", "cached" or "duplicates"
    filled: Filled


class Ingestor:
    """Fills a table's vectors, embedding only what is not known yet."""

    def __init__(
        self,
        table: Table,
        embedder: Embedder,
        executor: Executor,
        *,
        cache: VectorCache | None = None,
        batch: int = BATCH,
        batch_size: int | None = None,
        width: Width | None = None,
        truncate: bool = True,
        metrics: bool = True,
    ) -> None:
        """`batch` rows are claimed, and written, at once; `batch_size` limits the texts in a call of the model.

        `width` is how many pages wait and how many threads write; None: as it is measured to be best. Texts longer
        than the model reads are cut, and counted, or fail without `truncate`.
        """
        self._table = table
        self._embedder = embedder
        self._executor = executor
        self._cache = cache
        self._batch = batch
        self._batch_size = batch_size
        self._width = width
        self._truncate = truncate
        self._metrics = metrics
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; what has been embedded is written."""
        self._stopping.set()
        self._executor.hurry(_TO_FINISH)

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
        table.bind(self._embedder.fingerprint, self._embedder.name, overwrite=overwrite, again=again)
        if self._metrics:
            table.prepare_metrics()
        state = _State(table, self._executor, started, on_progress)
        state.count()
        with _Writers(table, state, self._width or NARROWEST, self._batch) as writers:
            self._passes(state, writers)
        removed, index = 0, ""
        stopped = self._stopping.is_set
        if not stopped():
            removed = table.tidy()
            if self._metrics:
                state.counts["measured"] = measure_rows(
                    table, self._embedder.encode, lambda rows: state.show(f"{rows:,} rows measured", None), stopped
                )
        if not stopped():
            index = table.build_index(state.show, stopped)
        if not stopped():
            table.note_filled()
        return self._report(state, writers, removed=removed, index=index, interrupted=stopped())

    def _passes(self, state: _State, writers: _Writers) -> None:
        """Go through the table until nothing is left that this run could do."""
        wait, longest = _LOOK_AGAIN
        changed, passes = -1, 0
        while not self._stopping.is_set():
            if passes < _PASSES and state.counts["changed"] > changed:
                changed, passes = state.counts["changed"], passes + 1
                self._pass(state, writers)
            elif self._table.held_elsewhere():  # should their run die, they are anybody's
                state.show("waiting for rows that another run holds", None)
                self._stopping.wait(wait)
                wait = min(2 * wait, longest)
                self._pass(state, writers)
            else:
                return

    def _pass(self, state: _State, writers: _Writers) -> None:
        """Go through the table once."""
        pages: Queue[_Page] = Queue((self._width or NARROWEST).ahead)
        tuning = _Tuning(pages, writers) if self._width is None else None
        reader = threading.Thread(target=self._read, args=[state, pages], name="embedmill-read", daemon=True)
        matching: Matching[_Piece] = Matching(
            self._embedder.fingerprint.space, self._known, writers.found, writers.failed
        )
        reader.start()
        try:
            # A text waits for others of its length for at most so many: that bounds what is held in memory.
            calls = matching.calls(
                self._pieces(state, pages, matching, writers),
                most=self._batch_size,
                patience=self._batch * max(self._executor.workers, 2),
            )
            embedding = time.perf_counter()
            for embedded in self._executor.run(takewhile(lambda _: not self._stopping.is_set(), calls)):
                new = matching.settle(embedded)
                if self._cache is not None and new:
                    self._cache.put_many(new, self._embedder.fingerprint)
                state.tell()
                if tuning is not None:
                    tuning.adapt()
            state.seconds["embed"] += time.perf_counter() - embedding
        finally:
            pages.fail(Closed())
            reader.join()
            state.seconds["wait for rows"] += pages.waited_to_get
        state.counts["chunks"] -= matching.unsettled()  # of a run that was stopped: the next one counts them
        writers.flush()

    def _known(self, hashes: Sequence[bytes]) -> dict[bytes, Vector]:
        return self._cache.get_many(hashes, self._embedder.fingerprint) if self._cache and hashes else {}

    def _pieces(
        self, state: _State, pages: Queue[_Page], matching: Matching[_Piece], writers: _Writers
    ) -> Iterator[_Piece]:
        while not self._stopping.is_set():
            try:
                page = pages.get()
            except Closed:
                return
            known = matching.look_up([each.hash for each in page if isinstance(each, _Piece)])
            for each in page:
                state.counts["chunks"] += 1
                if not isinstance(each, _Piece):
                    writers.refused(*each)
                elif matching.needs_model(each, known):
                    self._executor.start()
                    yield each
            state.tell()

    # The reader's thread

    def _read(self, state: _State, pages: Queue[_Page]) -> None:
        after: Key | None = None
        try:
            while not self._stopping.is_set():
                started = time.perf_counter()
                rows = self._table.claim(after, self._batch)
                state.seconds["read"] += time.perf_counter() - started
                if not rows:
                    break
                after = rows[-1].key
                pages.put(self._page(state, rows))
            pages.end()
        except Closed:
            pass
        except BaseException as error:  # handed to the thread that asks for the rows
            pages.fail(error)

    def _page(self, state: _State, rows: Sequence[Row]) -> _Page:
        """The rows tokenised; those that cannot be embedded with their cause."""
        started = time.perf_counter()
        causes = [row.cause or _unfit(row.text) for row in rows]
        sound = [row for row, cause in zip(rows, causes, strict=True) if cause is None]
        whole = iter(self._embedder.encode([row.text for row in sound], truncate=False))
        page: list[_Piece | tuple[Row, Cause]] = []
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
            page.append(_Piece(row, row.hash, ids, measure(row.text, tokens) if self._metrics else None))
        state.seconds["tokenise"] += time.perf_counter() - started
        return page

    def _report(self, state: _State, writers: _Writers, **outcome: Any) -> IngestReport:
        executor, fingerprint = self._executor, self._embedder.fingerprint
        stands = state.counted()
        refused = sum(state.refused.values())
        counts = state.counts - state.refused + Counter(failed=refused)
        text, vector = self._table.columns
        skipped = {"NULL": stands.without_text, "vector of unknown origin": stands.foreign}
        return IngestReport(
            documents=stands.rows,
            unchanged=max(stands.rows - stands.left, 0),
            chunks=counts["chunks"],
            embedded=counts["embedded"],
            cached=counts["cached"],
            duplicates=counts["duplicates"],
            truncated=counts["truncated"],
            failed=counts["failed"],
            tokens=counts["tokens"],
            seconds=round(time.perf_counter() - state.started, 3),
            model=self._embedder.name,
            space=fingerprint.space.id,
            precision=fingerprint.precision,
            executor=executor.name,
            workers=executor.workers,
            restarts=executor.restarts,
            retries=executor.retries,
            store=self._table.url,
            stages={name: round(seconds, 3) for name, seconds in state.seconds.items()},
            skipped={reason: number for reason, number in skipped.items() if number},
            failures=stands.failures + counts["failed"],
            worker_stats=executor.stats(),
            health=executor.check_health(),
            tuning=executor.tuning,
            table=self._table.name,
            text=text,
            vector=vector,
            last_key=", ".join(state.last.key) if state.last else "",
            changed=counts["changed"],
            measured=counts["measured"],
            writers=writers.most,
            **outcome,
        )


def _unfit(text: str) -> Cause | None:
    """Why a text cannot be embedded."""
    if not text or text.isspace():
        return Cause("EmptyText", "the text is empty")
    if "\0" in text:
        return Cause("NulCharacter", "the text has a NUL character: it is no text, or was damaged")
    return None


class _State:
    """What a run has done so far. Counted by several threads, each name by one of them or under the lock."""

    def __init__(
        self, table: Table, executor: Executor, started: float, on_progress: Callable[[IngestProgress], None]
    ) -> None:
        self._table = table
        self._executor = executor
        self._on_progress = on_progress
        self.started = started
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.lock = threading.Lock()
        self.rows = 0  # written, or failed
        self.last: Row | None = None  # of the rows that are written, or have failed, the last to be claimed
        self.stands: Counts | None = None  # when the run began; None until it is counted
        self.refused: Counter[str] = Counter()  # by the database, of what was embedded, cached ...
        self._counting = threading.Thread(target=self._count, name="embedmill-count", daemon=True)

    def count(self) -> None:
        """Begin to count the table's rows, in a thread of its own."""
        self._counting.start()

    def counted(self) -> Counts:
        """How the table stood when the run began."""
        self._counting.join()
        return self.stands or self._table.counts()

    def _count(self) -> None:
        with suppress(EmbedmillError):  # the run meets the same, where it can be reported
            self.stands = self._table.counts()

    def tell(self) -> None:
        """Report the progress."""
        self.show("", None)

    def show(self, doing: str, share: float | None) -> None:
        """Report what is being done, and how much of that is."""
        total = None if self.stands is None else max(self.stands.left, self.rows)
        seconds = time.perf_counter() - self.started
        failed = self.counts["failed"]
        self._on_progress(IngestProgress(self.rows, total, failed, self._executor.restarts, seconds, doing, share))


class _Writers:
    """Threads that write what is finished, `width.writers` at once; leaving the context waits for them.

    What the database refuses is halved down to the rows that it does, and these become failures.
    """

    def __init__(self, table: Table, state: _State, width: Width, batch: int) -> None:
        self._table = table
        self._state = state
        self._batch = batch
        self._queue: Queue[Callable[[], None]] = Queue(width.writers + 1)
        self._filled: list[_Found] = []
        self._failed: list[tuple[Row, Cause]] = []
        self._threads: dict[int, threading.Thread] = {}
        self.wanted = 0
        self.most = 0
        self.busy = 0.0  # seconds, of all threads together
        self.widen(width.writers)

    @property
    def waited_for(self) -> float:
        """Seconds that the model's side has waited for the writers."""
        return self._queue.waited_to_put

    def widen(self, writers: int) -> None:
        """From now on so many write at once; those too many end when they have written what they have."""
        self.wanted = writers
        self.most = max(self.most, writers)
        self._queue.allow(writers + 1)
        for number in range(writers):
            if number not in self._threads or not self._threads[number].is_alive():
                thread = threading.Thread(target=self._write, args=[number], name="embedmill-write", daemon=True)
                self._threads[number] = thread
                thread.start()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._queue.fail(error)
        self._queue.end()
        for thread in self._threads.values():
            thread.join()
        self._state.seconds["write"] = self.busy
        self._state.seconds["wait for writers"] = self.waited_for

    # From the model's side

    def found(self, name: str, piece: _Piece, vector: Vector) -> None:
        """A row has its vector."""
        self._state.counts[name] += 1
        if name == "embedded":
            self._state.counts["tokens"] += len(piece.ids)
        self._filled.append(_Found(name, Filled(piece.row, vector, piece.metrics)))
        if len(self._filled) >= self._batch:
            self._hand_over()

    def failed(self, piece: _Piece, cause: Cause) -> None:
        """A row has none."""
        self.refused(piece.row, cause)

    def refused(self, row: Row, cause: Cause) -> None:
        """A row that cannot be embedded."""
        self._state.counts["failed"] += 1
        self._failed.append((row, cause))
        if len(self._failed) >= self._batch:
            self._hand_over()

    def flush(self) -> None:
        """Wait until all is written."""
        self._hand_over()
        self._queue.drain()

    def _hand_over(self) -> None:
        if self._filled:
            filled, self._filled = self._filled, []
            self._queue.put(lambda: self._fill(filled))
        if self._failed:
            failed, self._failed = self._failed, []
            self._queue.put(lambda: self._fail(failed))

    # The writers' threads

    def _write(self, number: int) -> None:
        try:
            while number < self.wanted:
                work = self._queue.get()
                started = time.perf_counter()
                work()
                with self._state.lock:
                    self.busy += time.perf_counter() - started
                self._queue.done()
        except Closed:
            pass
        except BaseException as error:  # handed to the model's side
            self._queue.fail(error)

    def _fail(self, rows: Sequence[tuple[Row, Cause]]) -> None:
        self._table.fail(rows)
        self._note(len(rows), [row for row, _ in rows])

    def _fill(self, rows: Sequence[_Found]) -> None:
        try:
            changed = self._table.write([each.filled for each in rows])
        except RowsRefused as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                self._fill(rows[:middle])
                self._fill(rows[middle:])
                return
            self._table.fail([(rows[0].filled.row, Cause.of(error))])
            with self._state.lock:
                self._state.refused[rows[0].name] += 1
            changed = 0
        self._note(len(rows) - changed, [each.filled.row for each in rows])
        with self._state.lock:
            self._state.counts["changed"] += changed

    def _note(self, done: int, rows: Sequence[Row]) -> None:
        state = self._state
        last = max(rows, key=lambda row: row.mark)  # marks are numbered as rows are first claimed
        with state.lock:
            state.rows += done
            state.last = last if state.last is None else max(state.last, last, key=lambda row: row.mark)


class _Tuning:
    """Widens and narrows the ends of a pass by what it measures (see `embedmill.flow`)."""

    def __init__(self, pages: Queue[_Page], writers: _Writers) -> None:
        self._pages = pages
        self._writers = writers
        self._width = Width(NARROWEST.ahead, writers.wanted)
        self._last = self._measured()

    def _measured(self) -> tuple[float, ...]:
        pages, writers = self._pages, self._writers
        return (
            time.perf_counter(),
            pages.waited_to_get,
            pages.waited_to_put,
            writers.waited_for,
            writers.busy,
        )

    def adapt(self) -> None:
        """Look whether it is time to change the width."""
        if time.perf_counter() < self._last[0] + _MEASURED_EVERY:
            return
        now = self._measured()
        seconds, *waited = (new - old for new, old in zip(now, self._last, strict=True))
        self._last = now
        self._width = next_width(self._width, Waits(*(each / seconds for each in waited)))
        self._pages.allow(self._width.ahead)
        if self._width.writers != self._writers.wanted:
            self._writers.widen(self._width.writers)
