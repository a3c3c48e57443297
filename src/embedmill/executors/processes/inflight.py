"""One caller's run: what it waits for, in order, and how much of it may be under way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from embedmill.core.vectors import Batch, Embedded
from embedmill.engine.batching import TOKEN_BUDGET
from embedmill.executors.processes.recovery import Job

_OUT_OF_ORDER: Final = 2  # finished batches that may wait behind one that takes a little longer
_PATIENCE: Final = 0.5  # seconds after which it takes more than a little
_WAITING: Final = 512  # finished batches that may wait behind one that hangs or whose workers die


class Abandoned(Exception):
    """The outcome of a job that nobody waits for any more."""


class BatchQueue:
    """What one `run` waits for, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._unfinished = 0
        self._tokens = 0  # of the unfinished
        self._late: Job | None = None  # the first one, where the others need not wait for it
        self.abandoned = False
        """Whether nothing more is to be begun."""

    def job(self, batch: Batch) -> Job:
        """A new job, the last in the row."""
        job = Job(batch, self._done)
        with self._changed:
            self._waiting.append(job)
            self._unfinished += 1
            self._tokens += batch.tokens
        return job

    def _done(self, job: Job) -> None:
        with self._changed:
            self._unfinished -= 1
            self._tokens -= job.batch.tokens
            self._changed.notify()

    def next(self, most: int) -> Embedded | None:
        """The first result, or None while there are fewer than `most` jobs under way; waits for either."""
        while True:
            with self._changed:
                late = bool(self._waiting) and self._waiting[0] is self._late
                bound = _WAITING if late else most + _OUT_OF_ORDER
                if not self._changed.wait_for(lambda: self._first_is_done() or self._room(most, bound), _PATIENCE):  # noqa: B023
                    self._late = self._waiting[0]
                    continue
                if not self._first_is_done():
                    return None
            if (embedded := self._take()) is not None:
                return embedded

    def rest(self) -> Iterator[Embedded]:
        """All results that are still to come."""
        while self._waiting:
            with self._changed:
                self._changed.wait_for(self._first_is_done)
            if (embedded := self._take()) is not None:
                yield embedded

    def end(self, outcome: Exception) -> None:
        """Let all that is unfinished have this outcome."""
        for job in list(self._waiting):
            job.finish(outcome)

    def abandon(self) -> None:
        """Give up what is unfinished, and begin nothing more."""
        self.abandoned = True
        self.end(Abandoned())

    def _first_is_done(self) -> bool:
        return bool(self._waiting) and self._waiting[0].outcome is not None

    def _room(self, most: int, most_waiting: int) -> bool:
        few = self._unfinished < most and self._tokens < most * TOKEN_BUDGET
        return few and len(self._waiting) < most_waiting

    def _take(self) -> Embedded | None:
        """The first result; None for one that was abandoned."""
        outcome = self._waiting.popleft().outcome
        if isinstance(outcome, Abandoned):
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
