"""What becomes of the texts that a worker held when it died: pure bookkeeping, no process is touched here.

A batch is tried whole once more, alone in a worker. Where that dies too, its texts are tried one by one; the one that
takes its worker with it is tried once more, and has failed if that dies as well. So one text costs at most four
workers, whatever its batch's size, where halving would cost log2 of it more; and no other text is lost.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedmill.core.vectors import Batch, Cause, Embedded, Vectors

_FINISHING = threading.RLock()  # a caller may end a job while its result comes; so may a generator, collected just then


@dataclass(eq=False, slots=True)
class Job:
    """A batch that a caller waits for. One that has its outcome is not given to a worker any more."""

    batch: Batch
    done: Callable[[Job], None]
    outcome: Embedded | Exception | None = None  # None until there is one
    suspect: bool = False  # a worker has died of it, or beside it
    unusable: int = 0  # workers that held it when their model could not be used any more
    _vectors: Vectors | None = None
    _causes: dict[int, Cause] = field(default_factory=dict)
    _settled: int = 0  # rows

    def settle(self, start: int, embedded: Embedded) -> None:
        """Take the result of the rows from `start` on; tells the caller once all are there."""
        rows, dimension = embedded.vectors.shape
        if self._vectors is None:
            self._vectors = np.full((len(self.batch.texts), dimension), np.nan, np.float32)
        self._vectors[start : start + rows] = embedded.vectors
        self._causes.update({start + row: cause for row, cause in embedded.causes.items()})
        self._settled += rows
        if self._settled == len(self.batch.texts):
            self.finish(Embedded(self.batch, self._vectors, self._causes))

    def finish(self, outcome: Embedded | Exception) -> None:
        """Tell the caller; only the first outcome counts."""
        with _FINISHING:
            if self.outcome is not None:
                return
            self.outcome = outcome
        self.done(self)


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """Rows of a job that a worker is given at once."""

    job: Job
    start: int
    stop: int
    deaths: int = 0  # of workers that held these very rows

    @classmethod
    def of(cls, job: Job) -> Attempt:
        """The first one: the whole batch."""
        return cls(job, 0, len(job.batch.texts))

    @property
    def batch(self) -> Batch:
        """The texts of these rows."""
        whole = self.job.batch
        return whole if self.whole else whole.part(self.start, self.stop)

    def settle(self, embedded: Embedded) -> None:
        """Take the result."""
        self.job.settle(self.start, embedded)

    @property
    def whole(self) -> bool:
        """Whether these are all rows of the job."""
        return self.stop - self.start == len(self.job.batch.texts)

    def after_death(self, cause: Cause, dimension: int, *, hung: bool = False) -> Sequence[Attempt]:
        """What to try next, after a worker has died that held these rows; nothing where a text has been convicted.

        Of a batch that hung the texts are tried one by one at once: to try it whole again costs a deadline.
        """
        rows = self.stop - self.start
        if not self.job.suspect and not (hung and rows > 1):
            self.job.suspect = True
            return [replace(self, deaths=1)]
        self.job.suspect = True
        if rows > 1:
            return [Attempt(self.job, row, row + 1, deaths=1) for row in range(self.start, self.stop)]
        if self.deaths < 2:
            return [replace(self, deaths=2)]
        self.fail(cause, dimension)
        return []

    def fail(self, cause: Cause, dimension: int) -> None:
        """Give these rows up."""
        batch = self.batch
        causes = {
            row: replace(cause, message=f"{cause.message} (text with SHA-256 {_short_hash(text)})")
            for row, text in enumerate(batch.texts)
        }
        self.settle(Embedded(batch, np.full((len(batch.texts), dimension), np.nan, np.float32), causes))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
