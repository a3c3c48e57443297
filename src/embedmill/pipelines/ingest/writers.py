"""The last step of a run over a table: threads that write what is finished, and what they have done."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from embedmill.core.errors import EmbedmillError, RowsRefused
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import Counts, Filled, Metrics, Row
from embedmill.core.table_reports import IngestProgress
from embedmill.core.vectors import Cause, TokenIds, Vector
from embedmill.engine.sink import Origin
from embedmill.pipelines.ingest.width import NARROWEST, Waits, Width, next_width
from embedmill.runtime.channel import Channel, Closed
from embedmill.runtime.stages import Stages

_MEASURED_EVERY: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True, eq=False)
class RowPiece:
    """A row with all that is needed to embed it."""

    row: Row
    hash: bytes
    ids: TokenIds
    metrics: Metrics | None

    @property
    def input(self) -> str:
        """The text."""
        return self.row.text


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A row that has its vector, and where that came from."""

    origin: Origin
    filled: Filled


class State:
    """What a run has done so far. Counted by several threads, each name by one of them or under the lock."""

    def __init__(
        self,
        table: Table,
        executor: Executor,
        started: float,
        on_progress: Callable[[IngestProgress], None],
        stages: Stages,
    ) -> None:
        self._table = table
        self._executor = executor
        self._on_progress = on_progress
        self.started = started
        self.counts: Counter[str] = Counter()
        self.stages = stages
        self.lock = threading.Lock()
        self.rows = 0  # written, or failed
        self.last: Row | None = None  # of the rows that are written, or have failed, the last to be claimed
        self.stands: Counts | None = None  # when the run began; None until it is counted
        self.refused: Counter[str] = Counter()  # by the database, of what was embedded, cached ...
        self._counting = threading.Thread(target=self._count, name="embedmill-count", daemon=True)

    def count(self) -> None:
        """Begin to count the table's rows, in a thread of its own."""
        self._counting.start()

    def total(self) -> Counter[str]:
        """All counts; what the database has refused has failed."""
        return self.counts - self.refused + Counter(failed=sum(self.refused.values()))

    def counted(self, *, stopped: bool) -> Counts:
        """How the table stood when the run began; of a run that was `stopped` before it knew, what it has done."""
        self._counting.join()
        if self.stands is None and stopped:
            return Counts(self.rows, self.rows, 0, 0, 0)
        return self.stands or self._table.counts()

    def _count(self) -> None:
        with suppress(EmbedmillError):  # the run meets the same, where it can be reported
            self.stands = self._table.counts()

    def show(self, doing: str = "", share: float | None = None) -> None:
        """Report the progress: of the vectors, or what else is being done, and how much of that is."""
        total = None if self.stands is None else max(self.stands.left, self.rows)
        seconds = time.perf_counter() - self.started
        failed = self.counts["failed"]
        self._on_progress(IngestProgress(self.rows, total, failed, self._executor.restarts, seconds, doing, share))


class Writers:
    """Threads that write what is finished, `width.writers` at once; leaving the context waits for them.

    What the database refuses is halved down to the rows that it does, and these become failures.
    """

    def __init__(self, table: Table, state: State, width: Width, batch: int) -> None:
        self._table = table
        self._state = state
        self._batch = batch
        self._queue: Channel[Callable[[], None]] = Channel(width.writers + 1)
        self._filled: list[_Found] = []
        self._failed: list[tuple[Row, Cause]] = []
        self._locked: list[_Found] = []  # rows that others had locked; the two under the state's lock
        self._locked_failed: list[tuple[Row, Cause]] = []
        self._threads: dict[int, threading.Thread] = {}
        self.wanted = 0
        self.most = 0
        self.busy = 0.0  # seconds, of all threads together
        self._flushing = 0.0  # seconds that were waited for at the end of a pass
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

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._queue.fail(error)
        self._queue.end()
        for thread in self._threads.values():
            thread.join()
        self._state.stages.add("wait for writers", self.waited_for + self._flushing)

    # From the model's side

    def accept(self, piece: RowPiece, vector: Vector, origin: Origin) -> None:
        """A row has its vector."""
        self._filled.append(_Found(origin, Filled(piece.row, vector, piece.metrics)))
        if len(self._filled) >= self._batch:
            self._hand_over()

    def reject(self, piece: RowPiece, cause: Cause) -> None:
        """A row has none."""
        self.fail(piece.row, cause)

    def fail(self, row: Row, cause: Cause) -> None:
        """A row that cannot be embedded."""
        self._failed.append((row, cause))
        if len(self._failed) >= self._batch:
            self._hand_over()

    def flush(self) -> None:
        """Wait until all is written."""
        started = time.perf_counter()
        self._hand_over()
        self._queue.drain()
        self._flushing += time.perf_counter() - started

    @property
    def locked(self) -> int:
        """How many rows are not written yet, since others have locked them."""
        return len(self._locked) + len(self._locked_failed)

    def try_again(self) -> None:
        """Write the rows that others had locked, those that they still have apart; waits until that is done."""
        with self._state.lock:
            filled, self._locked = self._locked, []
            failed, self._locked_failed = self._locked_failed, []
        for first in range(0, len(filled), self._batch):
            self._queue.put(partial(self._fill, filled[first : first + self._batch]))
        if failed:
            self._queue.put(lambda: self._fail(failed))
        self._queue.drain()

    def give_up(self) -> int:
        """Leave the rows that others have locked to the next run; how many they are."""
        with self._state.lock:
            for each in self._locked:
                self._state.counts[each.origin] -= 1
            self._state.counts["failed"] -= len(self._locked_failed)
            self._state.counts["chunks"] -= self.locked
            return self.locked

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
                    seconds = time.perf_counter() - started
                    self.busy += seconds
                    self._state.stages.add("write", seconds)
                self._queue.done()
        except Closed:
            pass
        except BaseException as error:  # handed to the model's side
            self._queue.fail(error)

    def _fail(self, rows: Sequence[tuple[Row, Cause]]) -> None:
        self._table.fail(rows)
        locked = self._table.take_locked([row for row, _ in rows])
        with self._state.lock:
            self._locked_failed += [each for each in rows if each[0].tracking_id in locked]
        self._note(len(rows) - len(locked), [row for row, _ in rows])

    def _fill(self, rows: Sequence[_Found]) -> None:
        refused = False
        try:
            changed = self._table.write([each.filled for each in rows])
        except RowsRefused as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                self._fill(rows[:middle])
                self._fill(rows[middle:])
                return
            self._table.fail([(rows[0].filled.row, Cause.of(error))])
            refused, changed = True, 0
        locked = self._table.take_locked([each.filled.row for each in rows])
        self._note(len(rows) - changed - len(locked), [each.filled.row for each in rows])
        written = [] if refused else [each for each in rows if each.filled.row.tracking_id not in locked]
        measured = sum(each.filled.metrics is not None for each in written)
        with self._state.lock:
            self._locked += [each for each in rows if each.filled.row.tracking_id in locked]
            self._state.refused[rows[0].origin] += refused and not locked
            self._state.counts["changed"] += changed
            self._state.counts["measured"] += max(measured - changed, 0)

    def _note(self, done: int, rows: Sequence[Row]) -> None:
        state = self._state
        last = max(rows, key=lambda row: row.tracking_id)  # marks are numbered as rows are first claimed
        with state.lock:
            state.rows += done
            state.last = last if state.last is None else max(state.last, last, key=lambda row: row.tracking_id)


class Tuning:
    """Widens and narrows the ends of a pass by what it measures (see `embedmill.pipelines.ingest.width`)."""

    def __init__(self, pages: Channel[Any], writers: Writers) -> None:
        self._pages = pages
        self._writers = writers
        self._width = Width(NARROWEST.ahead, writers.wanted)
        self._last = self._measured()

    def _measured(self) -> tuple[float, ...]:
        pages, writers = self._pages, self._writers
        return (time.perf_counter(), pages.waited_to_get, pages.waited_to_put, writers.waited_for, writers.busy)

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
