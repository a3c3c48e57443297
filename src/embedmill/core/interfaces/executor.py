"""Where an embedder runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from embedmill.core.vectors import Batch, Embedded

if TYPE_CHECKING:
    from embedmill.core.reports import WorkerStats


class Executor(Protocol):
    """Where embedders run."""

    @property
    def name(self) -> str:
        """As in ``--executor``."""

    @property
    def workers(self) -> int:
        """How many calls, or processes, work at once."""

    def start(self) -> None:
        """Begin to load the model, without waiting for it; otherwise the first batch does."""

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches and yield the results in the same order, one for each.

        A result has its batch, or one with the same texts. Pulls only a few batches ahead of the caller. A text that
        fails does not take its batch with it. Several callers may run at once; each gets its own results.
        """

    @property
    def restarts(self) -> int:
        """Workers replaced so far."""

    @property
    def retries(self) -> int:
        """Batches tried again so far."""

    @property
    def tuning(self) -> str:
        """Why there are so many workers, where that was measured; else empty."""

    def stats(self) -> Sequence[WorkerStats]:
        """What each worker process is doing and has done; empty where there are none."""

    def check_health(self) -> Sequence[str]:
        """What is wrong with the workers now, a line each; empty while all is well."""

    def finish_within(self, seconds: float) -> None:
        """Give up what is not finished within so many seconds, where that is possible: `run` ends then, without it.

        Safe in a signal handler.
        """

    def close(self) -> None:
        """End the workers; may be called twice. `run` raises `RuntimeError` afterwards."""


class Stoppable(Protocol):
    """A run that can be ended early."""

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; what is finished is stored."""
