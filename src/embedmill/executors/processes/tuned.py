"""Find the best number of workers on a run's own first batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final

from embedmill.core.reports import WorkerStats
from embedmill.core.vectors import Batch, Embedded
from embedmill.executors.processes.pool import EmbedderPool

log = logging.getLogger(__name__)

SECONDS: Final = 1.0
"""For each number of workers, from its first result on."""

_ALL_UP_TO: Final = 4  # workers: beyond, only the doubles are tried


def candidates(cores: int) -> list[int]:
    """The numbers of workers worth trying, the most first: what a short run ends with is most likely the best."""
    doubles = [2**power for power in range(3, cores.bit_length())]
    return sorted({*range(1, min(cores, _ALL_UP_TO) + 1), *doubles, cores}, reverse=True)


class TunedPool:
    """An executor that tries pools of several sizes for a second each and keeps the fastest.

    What is embedded meanwhile counts: nothing is embedded twice. A run that ends earlier leaves the choice open.
    """

    name = "processes"

    def __init__(
        self, make: Callable[[int], EmbedderPool], workers: Sequence[int], *, seconds: float = SECONDS
    ) -> None:
        """`make` makes a pool of so many workers; `workers` are the numbers to try, in this order."""
        self._make = make
        self._left = list(workers)
        self._seconds = seconds
        self._lock = threading.RLock()  # see `EmbedderPool`
        self._pool = make(self._left.pop(0))  # the one that is tried, then the one that was chosen
        self._pools = [self._pool]
        self._best: EmbedderPool | None = None  # of those that were tried
        self._tuning = False
        self._settled = False
        self._shared = False  # whether the first pool serves others while this goes on
        self.measured: dict[int, float] = {}
        """Number of workers -> tokens a second."""

    @property
    def workers(self) -> int:
        """Those of the pool that is in use."""
        return self._pool.workers

    @property
    def tuning(self) -> str:
        """What was measured, as in ``1 worker: 12,100 tokens/s, 2 workers: 23,900 tokens/s``."""
        return ", ".join(
            f"{workers} worker{'s' if workers > 1 else ''}: {speed:,.0f} tokens/s"
            for workers, speed in sorted(self.measured.items())
        )

    @property
    def restarts(self) -> int:
        """Workers replaced so far."""
        return sum(pool.restarts for pool in self._pools)

    @property
    def retries(self) -> int:
        """Batches tried again so far."""
        return sum(pool.retries for pool in self._pools)

    def start(self) -> None:
        """Begin to start the first pool's workers."""
        self._pool.start()

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches; results come in the batches' order. Those of one caller at a time are what is measured."""
        with self._lock:
            tunes = not self._settled and not self._tuning
            self._tuning |= tunes
            self._shared |= not self._settled and not tunes
            pool = self._pool if self._settled else self._pools[0]
        if not tunes:
            yield from pool.run(batches)
            return
        left = iter(batches)
        try:
            settled = yield from self._tune(left)
        finally:
            self._tuning = False
        if settled:
            yield from self._pool.run(left)

    def _tune(self, left: Iterator[Batch]) -> Generator[Embedded, None, bool]:
        """Embed batches while the sizes are tried; whether all were, before the batches came to their end."""
        while True:
            speed = yield from self._timed(self._pool, left)
            if speed is None:
                return False
            self.measured[self._pool.workers] = speed
            self._keep_the_better()
            if not self._left:
                break
            self._pool = self._make(self._left.pop(0))
            self._pools.append(self._pool)
        assert self._best is not None
        with self._lock:
            self._pool, self._settled = self._best, True
        if not self._shared and self._pools[0] is not self._pool:
            self._pools[0].close()
        log.info("%d workers, the best of %s", self.workers, self.tuning)
        return True

    def _keep_the_better(self) -> None:
        """Of the best pool so far and the one just tried close the slower: few models are in memory at once."""
        best, slower = self._pool, self._best
        if slower is not None and self.measured[slower.workers] >= self.measured[best.workers]:
            best, slower = slower, best
        self._best = best
        if slower is not None and slower is not self._pools[0]:  # that is for other callers meanwhile
            slower.close()

    def _timed(self, pool: EmbedderPool, left: Iterator[Batch]) -> Generator[Embedded, None, float | None]:
        """Embed some of the batches; returns tokens a second, or None where they have come to their end."""
        first = last = tokens = 0.0
        ended = False

        def some() -> Iterator[Batch]:
            nonlocal ended
            for batch in left:
                yield batch
                if first and time.monotonic() - first >= self._seconds:
                    return
            ended = True

        for embedded in pool.run(some()):
            last = time.monotonic()
            if first:
                tokens += embedded.batch.tokens
            first = first or last
            yield embedded
        return None if ended or last == first else tokens / (last - first)

    def finish_within(self, seconds: float) -> None:
        """Give up what is not finished within so many seconds."""
        self._pool.finish_within(seconds)

    def stats(self) -> list[WorkerStats]:
        """What the workers of the pool in use are doing and have done; not what others did while they were tried."""
        return self._pool.stats()

    def check_health(self) -> list[str]:
        """What is wrong with the pool in use, a line each."""
        return self._pool.check_health()

    def close(self) -> None:
        """End all workers; may be called twice."""
        for pool in self._pools:
            pool.close()
