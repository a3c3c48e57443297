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
    """An attribute that is the sum of an attribute of all calls, of those under way too."""

    def __init__(self, of_a_call: str) -> None:
        self.of_a_call = of_a_call

    def __get__(self, counters: Counters, _: type) -> int:
        return counters.count(self.of_a_call)


class Counters:
    """Counts over all calls; safe for several threads."""

    total_chunks = _Count("total")
    """Chunks that calls were given. Each is kept, embedded, cached, a duplicate or failed once its call has ended."""
    processed_chunks = _Count("processed")
    """Chunks that have a vector."""
    failed_chunks = _Count("failed")
    """Chunks that have none, and a cause."""
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

    def count(self, name: str) -> int:
        """The sum of this attribute of all calls."""
        with self._lock:
            return self._counts[name] + sum(int(getattr(each, name)) for each in self._under_way)

    @property
    def elapsed_seconds(self) -> float:
        """Wall time in which at least one call was under way."""
        with self._lock:
            return self._seconds + (time.perf_counter() - self._since if self._under_way else 0.0)

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
                self._counts.update({name: getattr(call, name) for name in _OF_A_CALL})
                if not self._under_way:
                    self._seconds += time.perf_counter() - self._since

    def _counted(self) -> dict[str, Any]:
        """All of it, by name."""
        seconds = self.elapsed_seconds
        counts = {name: getattr(self, name) for name, value in vars(Counters).items() if isinstance(value, _Count)}
        return counts | {
            "elapsed_seconds": seconds,
            "throughput_chunks_per_sec": counts["processed_chunks"] / seconds if seconds else 0.0,
            "tokens_per_second": counts["tokens"] / seconds if seconds else 0.0,
        }


_OF_A_CALL = [value.of_a_call for value in vars(Counters).values() if isinstance(value, _Count)]
