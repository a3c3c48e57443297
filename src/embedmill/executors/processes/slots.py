"""What a pool knows of its workers."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field

from embedmill.core.reports import WorkerStats
from embedmill.executors.processes.child import IsolatedEmbedder
from embedmill.executors.processes.recovery import Attempt


@dataclass(eq=False, slots=True)
class InFlight:
    """An attempt that a worker has been given."""

    attempt: Attempt
    since: float | None = None  # when the worker began it; None while it waits for others


@dataclass(eq=False, slots=True)
class Worker:
    """One process and what it holds."""

    child: IsolatedEmbedder
    started: float  # on the monotonic clock, as all times here
    ready: bool = False
    concurrency: int = 1
    held: dict[int, InFlight] = field(default_factory=dict)  # by the number of its frame, oldest first
    idle_since: float = 0.0
    replaced_for: str | None = None  # why it gets a successor
    leaving: bool = False  # takes no more work
    alone: bool = False  # kept for what a worker has died of
    too_large: bool = False  # it has been, or is
    loaded_mb: float = 0.0
    rss_mb: float = 0.0
    calls: int = 0  # batches given to it
    batches: int = 0  # finished by it

    @property
    def task(self) -> object:
        """What it is at: the same for the same rows."""
        oldest = next((held.attempt for held in self.held.values()), None)
        return oldest and (oldest.job, oldest.start, oldest.stop)

    def begin(self, now: float) -> None:
        """Take note of which attempts the worker is at: the oldest, as many as it embeds at once."""
        for held in itertools.islice(self.held.values(), self.concurrency):
            held.since = held.since or now

    def discount(self, seconds: float) -> None:
        """Let so much time not have passed."""
        self.started += seconds
        self.idle_since += seconds
        for held in self.held.values():
            if held.since is not None:
                held.since += seconds


@dataclass(eq=False, slots=True)
class Slot:
    """A worker's place, and what those did that had it."""

    index: int
    threads: int
    worker: Worker | None = None
    successor: Worker | None = None
    documents: int = 0
    batches: int = 0
    tokens: int = 0
    restarts: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    deaths_in_a_row: int = 0  # deaths since a batch was last finished here, or a text found that kills workers
    rss_mb: float = 0.0  # of the last process that has left it
    retired: bool = False
    too_many: bool = False  # retired since there is no memory for so many

    def finished(self, worker: Worker, attempt: Attempt) -> None:
        """Take note of what a worker has finished in this place."""
        worker.batches += 1
        self.deaths_in_a_row = 0
        self.documents += attempt.stop - attempt.start
        self.batches += 1
        self.tokens += attempt.batch.tokens

    def stats(self) -> WorkerStats:
        """What the process that has the place is doing, and what all did that had it."""
        worker = self.worker
        if worker is None:
            state = "retired" if self.retired else "missing"
        elif worker.ready:
            state = "busy" if worker.held else "idle"
        else:
            state = "starting"
        return WorkerStats(
            worker=self.index,
            pid=worker.child.pid if worker else None,
            state=state,
            documents=self.documents,
            batches=self.batches,
            tokens=self.tokens,
            rss_mb=round((worker.rss_mb if worker else 0.0) or self.rss_mb, 1),
            age_seconds=round(time.monotonic() - worker.started, 1) if worker else 0.0,
            restarts=self.restarts,
            causes=dict(self.causes),
        )


@dataclass(frozen=True, slots=True)
class Restart:
    """A worker that has been given up; a new one takes its place."""

    worker: int  # its place, from 0
    pid: int
    cause: str
