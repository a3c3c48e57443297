"""The embed loop: from texts with their token ids to vectors, whoever asks and wherever they go.

Results leave by calls of a sink, and not by a generator that the caller would iterate over. Where all is known from
before, as when nothing but names has changed, millions of items have their vectors before the executor is given a
single batch; a generator over the executor's answers could give them out only with such an answer, and until then they
would pile up in memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Space
from embedmill.core.vectors import Batch, Embedded, Vector
from embedmill.engine.batching import PATIENCE, Outstanding, batches
from embedmill.engine.dedup import RECENT, Deduplicator
from embedmill.engine.sink import HashedItem, Item, Sink
from embedmill.engine.validation import EmbeddingValidator

I = TypeVar("I", bound=Item)  # noqa: E741
H = TypeVar("H", bound=HashedItem)

RunBatches = Callable[[Iterable[Batch]], Iterable[Embedded]]
"""An executor's `run`, or what does as one."""

_NO_VECTOR: Vector = np.empty(0, np.float32)


def _never() -> bool:
    return False


def _nothing() -> None:
    pass


def embed_items(
    items: Iterable[I],
    run: RunBatches,
    sink: Sink[I],
    space: Space,
    *,
    batch_size: int | None = None,
    patience: int = PATIENCE,
    stopped: Callable[[], bool] = _never,
    on_batch: Callable[[], None] = _nothing,
) -> None:
    """Embed the items in batches of nearly one length; the sink accepts each sound vector and rejects all others.

    `batch_size` and `patience` are bounds of `embedmill.engine.batching.batches`. Once `stopped`, no batch is begun;
    what is not settled then the sink never hears of. `on_batch` is called after each batch. Raises `UsageError` where
    `run` does not answer each batch.
    """
    validator = EmbeddingValidator(space.dimension, space.normalize)
    outstanding: Outstanding[list[I]] = Outstanding()

    def calls() -> Iterator[Batch]:
        for group in batches(items, lambda item: len(item.ids), most=batch_size, patience=patience):
            if stopped():
                return
            batch = Batch(tuple(item.input for item in group), tuple(item.ids for item in group))
            outstanding.add(batch, group)
            yield batch

    for embedded in run(calls()):
        group = outstanding.take(embedded)
        vectors = embedded.vectors
        causes = validator.check(vectors) | dict(embedded.causes)
        for row, item in enumerate(group):
            if row in causes:
                sink.reject(item, causes[row])
            else:
                sink.accept(item, vectors[row], "embedded")
        on_batch()
    if not stopped():
        outstanding.check()


class Run(Generic[H]):
    """The embed loop over items of which some are known: to this run, the cache or the store."""

    def __init__(
        self,
        embedder: Embedder,
        executor: Executor | None,
        sink: Sink[H],
        *,
        cache: VectorCache | None = None,
        store: Store | None = None,
        keep: Callable[[Mapping[bytes, Vector]], None] = lambda _: None,
        counts: Counter[str] | None = None,
        stopped: Callable[[], bool] = _never,
    ) -> None:
        """Without an executor, for a dry run, what needs the model is accepted at once, with a vector of no numbers.

        `keep` is given new vectors, by hash, after each batch. `counts` has chunks, and of these embedded, cached,
        duplicates and failed, and tokens of the embedded ones.
        """
        self._embedder = embedder
        self._executor = executor
        self._cache = cache
        self._store = store
        self._keep = keep
        self._stopped = stopped
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.seconds = {"lookup": 0.0, "embed": 0.0}
        self._items = Deduplicator(sink, self._known, self.counts, recent=RECENT if executor else None)

    def embed(
        self,
        groups: Iterable[Sequence[H]],
        *,
        batch_size: int | None = None,
        patience: int = PATIENCE,
        on_batch: Callable[[], None] = _nothing,
    ) -> None:
        """Embed groups of items; the next group is asked for when all of one are known, wait or are under way.

        Arguments and errors are those of `embed_items`. What has no vector after a stop is not counted.
        """
        if self._executor is None:
            for item in self._unknown(groups, _nothing):
                self._items.accept(item, _NO_VECTOR, "embedded")
                self._items.take_new()  # and keep nothing
            return

        def batch_done() -> None:
            if new := self._items.take_new():
                self._keep(new)
            on_batch()

        started = time.perf_counter()
        embed_items(
            self._unknown(groups, self._executor.start),
            self._executor.run,
            self._items,
            self._embedder.fingerprint.space,
            batch_size=batch_size,
            patience=patience,
            stopped=self._stopped,
            on_batch=batch_done,
        )
        self.seconds["embed"] += time.perf_counter() - started
        self.counts["chunks"] -= self._items.unsettled()  # of a run that was stopped: the next one counts them

    def _unknown(self, groups: Iterable[Sequence[H]], start: Callable[[], None]) -> Iterator[H]:
        """The items that need the model, of which `start` is told; the sink gets the vectors of all others."""
        for group in groups:
            if self._stopped():
                return
            started = time.perf_counter()
            known = self._items.lookup([item.hash for item in group])
            self.seconds["lookup"] += time.perf_counter() - started
            for item in group:
                self.counts["chunks"] += 1
                if self._items.admit(item, known):
                    start()
                    yield item

    def _known(self, hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
        """The vectors that cache or store have of these hashes."""
        fingerprint = self._embedder.fingerprint
        found = self._cache.get_many(hashes, fingerprint) if self._cache and hashes else {}
        missing = [key for key in hashes if key not in found]
        if self._store and missing:
            found |= self._store.vectors(missing, fingerprint.precision)
        return found
