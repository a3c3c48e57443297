"""Embed in this process, with as many threads as the embedder asks for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from embedmill.interfaces import Embedder
from embedmill.overlap import ordered
from embedmill.records import Batch, Cause, Embedded


class InlineExecutor:
    """Runs an embedder in threads of this process. A text that raises is found by halving its batch."""

    name = "threads"
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
        return self._embed(batch)

    def _embed(self, batch: Batch) -> Embedded:
        try:
            return Embedded(batch, self._embedder.infer(batch))
        except Exception as error:
            if len(batch.texts) == 1:
                empty = np.full((1, self._embedder.dimension), np.nan, np.float32)
                return Embedded(batch, empty, {0: Cause.of(error)})
        with self._counting:
            self.retries += 1
        middle = len(batch.texts) // 2
        halves = [
            self._embed(Batch(batch.texts[part], batch.ids[part]))
            for part in (slice(None, middle), slice(middle, None))
        ]
        causes = {
            row + base: cause
            for base, half in zip((0, middle), halves, strict=True)
            for row, cause in half.causes.items()
        }
        return Embedded(batch, np.concatenate([half.vectors for half in halves]), causes)

    def close(self) -> None:
        """Refuse further work; may be called twice. The embedder stays the caller's."""
        self._closed = True
