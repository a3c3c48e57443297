"""How much memory workers take, and when that is too much."""

from __future__ import annotations

import logging
import math
from typing import Final

import psutil

from embedmill.runtime import machine

log = logging.getLogger(__name__)

_SOFT: Final = 0.95  # of the limit, as the others here: the worker finishes its batch and is replaced
_HARD: Final = 1.5  # of the limit: it is killed and its batch tried again
_EVERY: Final = 1.0  # seconds between looks
_FEW: Final = 3  # batches: a worker that is too large before it has finished these has no leak, it needs that much
_SPARE: Final = 1.5  # of a worker's size must be free for a second one beside it
_JUST: Final = 3.0  # seconds after which a death has another reason than the kernel's last look for memory
_MB: Final = 1 << 20


class Memory:
    """The limit for what one worker takes in all, its model included."""

    def __init__(self, limit_mb: float | None) -> None:
        self._limit = limit_mb
        self._next = 0.0
        self._soon = 0  # tasks at which workers were too large before they had finished a few batches
        self._last: object = None  # of these tasks
        self._readable = True
        self._kills = machine.killed_for_memory()
        self._killed_at = -math.inf
        self.largest_loaded = 0.0
        """Megabytes of the largest worker, as it was when it had loaded its model."""
        try:
            psutil.Process().memory_info()
        except (psutil.Error, OSError):
            self._readable = False
            log.warning("the memory of processes cannot be read here (no /proc?): workers run without a memory limit")

    def of(self, pid: int) -> float:
        """Megabytes of resident memory; 0 for a process that has ended, and where memory cannot be read."""
        if not self._readable:
            return 0.0
        try:
            return float(psutil.Process(pid).memory_info().rss) / _MB
        except (psutil.Error, OSError):
            return 0.0

    def due(self, now: float) -> bool:
        """Whether it is time for a look."""
        if now < self._next or not self._readable:
            return False
        self._next = now + _EVERY
        self.kernel_kills(now)
        return True

    def kernel_kills(self, now: float) -> bool:
        """Whether the kernel has just killed processes for want of memory."""
        kills, before = machine.killed_for_memory(), self._kills
        self._kills = kills
        if kills > before:
            self._killed_at = now
        return now - self._killed_at < _JUST

    def beyond_soft(self, rss_mb: float) -> bool:
        """Whether a worker that takes so much is to be replaced."""
        return self._limit is not None and rss_mb >= _SOFT * self._limit

    def beyond_hard(self, rss_mb: float) -> bool:
        """Whether it is to be killed."""
        return self._limit is not None and rss_mb >= _HARD * self._limit

    def loaded(self, rss_mb: float) -> None:
        """Take note of what a worker takes when it has loaded its model.

        A limit that the model alone is above is raised, with a warning: no restart would help.
        """
        self.largest_loaded = max(self.largest_loaded, rss_mb)
        if self.beyond_soft(rss_mb):
            self._raise_to(rss_mb, "for the model alone")

    def fits(self, batches: int) -> None:
        """Take note of a worker that is within the limit after so many batches."""
        if batches >= _FEW:
            self._soon = 0

    def learn(self, rss_mb: float, batches: int, task: object) -> None:
        """Take note of a worker that was too large after so many batches, when it was at this task.

        A limit that the model's own work does not fit into is raised, with a warning: no restart would help. One task
        that takes all there is does not raise it again and again.
        """
        if task == self._last:
            return
        self._last = task
        self._soon = self._soon + 1 if batches < _FEW else 0
        if self._soon > 1:
            self._soon = 0
            self._raise_to(rss_mb, "for the model and one batch")

    def _raise_to(self, rss_mb: float, what: str) -> None:
        raised = rss_mb * _HARD
        log.warning(
            "max_memory_mb is %.0f, and a worker needs %.0f MB %s: taking %.0f", self._limit, rss_mb, what, raised
        )
        self._limit = raised

    def room_for(self, worker_mb: float) -> bool:
        """Whether a second worker of this size fits beside the others."""
        try:
            return bool(psutil.virtual_memory().available / _MB > _SPARE * worker_mb)
        except (psutil.Error, OSError):
            return False
