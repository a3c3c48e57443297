"""What a pool knows of its workers."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field

from embedmill.executors.child import IsolatedEmbedder
from embedmill.executors.recovery import Trial
from embedmill.records import WorkerStats


@dataclass(eq=False, slots=True)
class Held:
    """A trial that a worker has been given."""

    trial: Trial
    since: float | None = None  # when the worker began it; None while it waits for others


@dataclass(eq=False, slots=True)
class Worker:
    """One process and what it holds."""

    child: IsolatedEmbedder
    ready: bool = False
    concurrency: int = 1
    held: dict[int, Held] = field(default_factory=dict)  # by the number of its frame, oldest first
    idle_since: float = 0.0
    replaced_for: str | None = None  # why it gets a successor
    leaving: bool = False  # takes no more work
    alone: bool = False  # kept for what a worker has died of
    loaded_mb: float = 0.0
    rss_mb: float = 0.0
    documents: int = 0
    batches: int = 0
    tokens: int = 0

    def begin(self, now: float) -> None:
        """Take note of which trials the worker is at: the oldest, as many as it embeds at once."""
        for held in itertools.islice(self.held.values(), self.concurrency):
            held.since = held.since or now


@dataclass(eq=False, slots=True)
class Slot:
    """A worker's place, and what became of those that had it."""

    index: int
    threads: int
    worker: Worker | None = None
    successor: Worker | None = None
    restarts: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    futile: int = 0  # deaths since a batch was last finished here
    retired: bool = False

    def stats(self) -> WorkerStats:
        """What the process that has the place is doing, and what became of those before."""
        worker = self.worker
        if worker is None:
            state = "retired" if self.retired else "missing"
            return WorkerStats(self.index, None, state, 0, 0, 0, 0.0, 0.0, self.restarts, dict(self.causes))
        return WorkerStats(
            self.index,
            worker.child.pid,
            ("busy" if worker.held else "idle") if worker.ready else "starting",
            worker.documents,
            worker.batches,
            worker.tokens,
            round(worker.rss_mb, 1),
            round(time.monotonic() - worker.child.started, 1),
            self.restarts,
            dict(self.causes),
        )


@dataclass(frozen=True, slots=True)
class Restart:
    """A worker that has been given up; a new one takes its place."""

    worker: int  # its place, from 0
    pid: int
    cause: str
