"""How long a worker may be at what it was given."""

from __future__ import annotations

from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.slots import InFlight, Worker


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
