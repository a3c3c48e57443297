"""What became of the chunks that a generator was given, summed up over its calls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embedmill.engine.chunks import ChunkList


class _Count:
    """An attribute that is the sum of a count of all calls, of those under way too."""

    def __init__(self, of_a_call: str) -> None:
        self.of_a_call = of_a_call

    def __get__(self, counters: Counters, _: type) -> int:
        return counters.summed()[self.of_a_call]


class Counters:
    """Counts over all calls; safe for several threads.

    At every moment `processed_chunks`, `failed_chunks` and `pending_chunks` make `total_chunks`, of which none is
    pending while no call is under way. The first of them are kept, embedded, cached and duplicate ones. Of a call
    that an error has ended, those count that came to an end before; the others are `untried_chunks`.
    """

    total_chunks = _Count("total")
    """Chunks of all calls, without those that are untried."""
    processed_chunks = _Count("processed")
    """Chunks that have a vector."""
    failed_chunks = _Count("failed")
    """Chunks that have none, and a cause."""
    pending_chunks = _Count("pending")
    """Chunks of calls under way that have neither as yet."""
    untried_chunks = _Count("untried")
    """Chunks that have neither, since an error has ended their call before it was their turn."""
    embedded_chunks = _Count("embedded")
    """Chunks whose vector the model has given."""
    cached_chunks = _Count("cached")
    """Chunks whose vector the cache had."""
    duplicate_chunks = _Count("duplicates")
    """Chunks that have the vector of an equal one of the same call."""
    kept_chunks = _Count("kept")
    """Chunks that came with the vector of this model and of their text."""
    recomputed_chunks = _Count("recomputed")
    """Chunks that came with another vector, which is computed anew."""
    retried_chunks = _Count("retried")
    """Chunks that failed and were tried once more, alone."""
    truncated_chunks = _Count("truncated")
    """Chunks longer than the model reads."""
    cache_misses = _Count("misses")
    """Distinct texts that the cache was asked for in vain."""
    batches = _Count("batches")
    """Calls of the model."""
    tokens = _Count("tokens")
    """Of embedded chunks, prompt and special tokens included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: list[ChunkList] = []
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._since = 0.0

    def summed(self) -> Counter[str]:
        """The counts of all calls, those under way included, as they are in one moment."""
        with self._lock:
            counts = self._counts.copy()
            for call in self._under_way:
                counts.update(call.counts())
        return counts

    @property
    def elapsed_seconds(self) -> float:
        """Wall time in which at least one call was under way."""
        with self._lock:
            return self._seconds + (time.perf_counter() - self._since if self._under_way else 0.0)

    @property
    def throughput_chunks_per_sec(self) -> float:
        """`processed_chunks` over `elapsed_seconds`; 0 before the first call."""
        return _rate(self.processed_chunks, self.elapsed_seconds)

    @property
    def tokens_per_second(self) -> float:
        """`tokens` over `elapsed_seconds`; 0 before the first call."""
        return _rate(self.tokens, self.elapsed_seconds)

    @contextmanager
    def _counting(self, call: ChunkList) -> Iterator[None]:
        """Count a call in while it is under way, and for good when it ends."""
        with self._lock:
            if not self._under_way:
                self._since = time.perf_counter()
            self._under_way.append(call)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(call)
                counts = call.counts()
                counts["untried"] = counts.pop("pending")
                counts["total"] -= counts["untried"]
                self._counts.update(counts)
                if not self._under_way:
                    self._seconds += time.perf_counter() - self._since

    def _counted(self) -> dict[str, Any]:
        """All of it, by name, of one moment."""
        sums, seconds = self.summed(), self.elapsed_seconds
        counts = {name: sums[value.of_a_call] for name, value in vars(Counters).items() if isinstance(value, _Count)}
        return counts | {
            "elapsed_seconds": seconds,
            "throughput_chunks_per_sec": _rate(counts["processed_chunks"], seconds),
            "tokens_per_second": _rate(counts["tokens"], seconds),
        }


def _rate(number: int, seconds: float) -> float:
    return number / seconds if seconds else 0.0
