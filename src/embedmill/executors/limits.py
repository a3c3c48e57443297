"""What a pool allows its workers."""

from __future__ import annotations

from dataclasses import dataclass

from embedmill.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker. Raises `UsageError` for values that make no sense."""

    max_memory_mb: int | None = 1000
    """Megabytes (2**20 bytes) of resident memory above what the worker had after loading; at 95 % it is replaced."""
    max_documents_per_worker: int | None = None
    """Texts after which a worker is replaced, whatever its memory."""
    start_seconds: float = 30.0
    """Until a worker must have loaded its model."""
    deadline_seconds: float = 30.0
    """What a batch is allowed whatever its length; the predicted time times `deadline_factor` comes on top."""
    deadline_factor: float = 5.0
    retry_seconds: float = 1.0
    """The same as `deadline_seconds` for what a worker has died of, tried alone: so that one text that hangs costs the
    long wait once. The time of the slowest call so far comes on top."""
    max_restarts: int = 20
    """Deaths in a row, without one batch finished between them, after which a worker is not replaced again. A text that
    kills its worker costs up to four, and such texts may follow one another."""
    failed_starts: int = 3
    """Starts in a row that fail before the pool goes on in this process."""

    def __post_init__(self) -> None:
        for name in ("max_memory_mb", "max_documents_per_worker"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}: give at least 1, or None for no limit")
        for name in ("start_seconds", "deadline_seconds", "deadline_factor", "retry_seconds", "failed_starts"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}: give more than 0")
        if self.max_restarts < 0:
            raise UsageError(f"max_restarts is {self.max_restarts}: give 0 or more")
