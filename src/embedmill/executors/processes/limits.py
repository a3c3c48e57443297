"""What a pool allows its workers, and how long a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.executors.processes.slots import InFlight, Worker

_LEAST: Final = 1e-3  # seconds, or times


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker. Raises `UsageError` for values that make no sense."""

    max_memory_mb: int | None = 1000
    """Megabytes (2**20 bytes) of resident memory in all, the model included; at 95 % the worker is replaced, at half as
    much again killed. A limit that the model alone, or with one batch, is above is raised, with a warning."""
    max_documents_per_worker: int | None = None
    """Calls of the model, each of a batch of texts, after which a worker is replaced, whatever its memory."""
    start_seconds: float = 30.0
    """Until a worker must have loaded its model."""
    deadline_seconds: float = 30.0
    """What a batch is allowed whatever its length; the predicted time times `deadline_factor` comes on top."""
    deadline_factor: float = 5.0
    retry_seconds: float = 1.0
    """The same as `deadline_seconds` for what a worker has died of, tried alone: so that one text that hangs costs the
    long wait once. The time of the slowest call so far comes on top."""
    max_restarts: int = 20
    """Deaths in a row of one worker, without a batch finished or a text found that kills workers between them, after
    which it is not replaced again."""
    max_deadly_texts: int = 100
    """Texts in a row that are found to kill workers, without a batch finished between them, after which the pool gives
    up: then it is the model that dies."""
    failed_starts: int = 3
    """Starts in a row that fail before the pool goes on in this process."""

    def __post_init__(self) -> None:
        for name in ("max_memory_mb", "max_documents_per_worker"):
            _check(name, getattr(self, name), int, 1, "give at least 1, or None for no limit", optional=True)
        for name in ("start_seconds", "deadline_seconds", "deadline_factor", "retry_seconds"):
            _check(name, getattr(self, name), float, _LEAST, f"give at least {_LEAST}")
        for name, least in (("max_restarts", 0), ("max_deadly_texts", 1), ("failed_starts", 1)):
            _check(name, getattr(self, name), int, least, f"give a whole number from {least} up")


def _check(name: str, value: object, kind: type, least: float, remedy: str, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    fitting = isinstance(value, int | kind) and not isinstance(value, bool)
    if not fitting or not value >= least:  # type: ignore[operator]  # false for NaN, too
        raise UsageError(f"{name} is {value!r}: {remedy}")


class Deadlines:
    """Predicts how long a batch takes from those that were finished, and tells what takes far longer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens, self._seconds = 0, 0.0  # of all calls
        self._slowest = 0.0  # seconds of a call

    def learn(self, tokens: int, seconds: float) -> None:
        """Take note of a batch that was finished."""
        self._tokens += tokens
        self._seconds += seconds
        self._slowest = max(self._slowest, seconds)

    def late(self, worker: Worker, now: float) -> InFlight | None:
        """What a worker will have been at for too long by then, if anything."""
        for held in worker.held.values():
            tokens = held.attempt.batch.tokens
            if held.since is not None and now - held.since > self._allowed(tokens, alone=worker.alone):
                return held
        return None

    def _allowed(self, tokens: int, *, alone: bool) -> float:
        """Seconds for a batch of so many tokens."""
        allowed = self._limits.deadline_seconds
        if not self._tokens:
            return allowed
        if alone:  # a worker's first call may be slow, and here it often is the first
            allowed = min(allowed, self._limits.retry_seconds + self._slowest)
        return allowed + self._limits.deadline_factor * tokens * self._seconds / self._tokens
