"""Embed in this process, with as many threads as the embedder asks for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence

from embedmill.interfaces import Embedder
from embedmill.isolating import isolate
from embedmill.overlap import ordered
from embedmill.records import Batch, Embedded, WorkerStats


class InlineExecutor:
    """Runs an embedder in threads of this process. A text that raises is found by halving its batch."""

    name = "threads"
    tuning = ""
    restarts = 0

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._closed = False
        self._started = False
        self._counting = threading.Lock()
        self.workers = embedder.workers
        self.retries = 0

    def start(self) -> None:
        """Load the model in a thread of its own, at the first call."""
        if self._started:
            return
        self._started = True
        threading.Thread(target=self._load, name="embedmill-load", daemon=True).start()

    def _load(self) -> None:
        with contextlib.suppress(Exception):  # the first batch meets the same error, where it can be reported
            self._embedder.load()

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches; results come in the batches' order."""
        if self._closed:
            raise RuntimeError("this executor is closed: make a new one")
        for _, embedded in ordered(self._loaded_and_embedded, batches, threads=self._embedder.concurrency):
            yield embedded

    def _loaded_and_embedded(self, batch: Batch) -> Embedded:
        self._embedder.load()  # a model that cannot be loaded ends the run; it is no fault of the texts
        embedded, retries = isolate(self._embedder, batch)
        with self._counting:
            self.retries += retries
        return embedded

    def stats(self) -> Sequence[WorkerStats]:
        """Nothing: there are no processes."""
        return ()

    def check_health(self) -> Sequence[str]:
        """Nothing: where threads are ill, the process is."""
        return ()

    def hurry(self, seconds: float) -> None:
        """Do nothing: what threads have begun, they finish."""

    def close(self) -> None:
        """Refuse further work; may be called twice. The embedder stays the caller's."""
        self._closed = True
