"""Vectors of a list of texts, where each distinct text goes through the model once, and none that the cache has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedmill.core.checks import one_of
from embedmill.core.documents import text_hash
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TASKS, Task, TokenEmbedder
from embedmill.core.vectors import Cause, Vectors
from embedmill.engine.dedup import KEPT_AT_ONCE, Deduplicator
from embedmill.engine.lists import (
    BLANK,
    ENCODE_AT_ONCE,
    LOOK_UP_AT_ONCE,
    NO_IDS,
    Array,
    ListedText,
    OnProgress,
    checked,
    failed,
)
from embedmill.engine.run import RunBatches, embed_items
from embedmill.engine.unread import is_unread, warn_of_documents


@dataclass(frozen=True, slots=True)
class EmbeddedList:
    """What became of a list of texts. Each text is exactly one of embedded, cached, duplicate or failed."""

    vectors: Vectors
    """``(n, dimension)``, in the texts' order; NaN in the rows that have a cause."""
    causes: Mapping[int, Cause]
    """Row -> why it has no vector."""
    embedded: int
    """Texts whose vector the model has given."""
    cached: int
    """Texts whose vector the cache had."""
    duplicates: int
    """Texts that have the vector of an equal one of this list."""
    misses: int
    """Distinct texts that the cache was asked for in vain; 0 without a cache."""
    tokens: int
    """Of the texts that are embedded, prompt and special tokens included."""

    def counts(self) -> dict[str, int]:
        """How many texts there are, and what became of them."""
        names = ("embedded", "cached", "duplicates", "misses", "tokens")
        counts = {"texts": len(self.vectors), "failed": len(self.causes)}
        return counts | {name: getattr(self, name) for name in names}

    def complete(self) -> Vectors:
        """The vectors, all of them sound. Raises `EmbeddingError`, which has them too, where texts have none."""
        if self.causes:
            raise failed(len(self.vectors), self.vectors, self.causes)
        return self.vectors


def embed_with_cache(
    texts: Iterable[str],
    embedder: TokenEmbedder,
    run: RunBatches,
    cache: VectorCache | None,
    *,
    task: Task = "document",
    batch_size: int | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddedList:
    """Embed what neither the cache nor an equal text of the list has a vector for; None: without a cache.

    `run` is an executor's, or does as one; `batch_size` limits the texts of a batch, by default its tokens alone do.
    New vectors are kept in the cache while the run goes on, and where it ends by an error too. `on_progress` is told
    how many texts are done, at last that all are; it never goes back.

    Raises `ValueError` where there are no texts, `TypeError` for anything but a list of texts, and `UsageError` for a
    task that there is not, and where `run` does not answer each batch. A text that fails raises nothing, nor does one
    that is empty or blank: see `EmbeddedList.causes`.
    """
    listed = checked(texts)
    if not listed:
        raise ValueError("there are no texts: give one or more")
    one_of("task", task, TASKS)
    way = _Texts(listed, embedder, cache, task, on_progress or (lambda _: None))
    space = way.items.fingerprint.space
    try:
        embed_items(way.encoded(), run, way.items, space, batch_size=batch_size, on_batch=way.on_batch)
    finally:
        way.items.keep_new()
    return way.result()


class _Texts:
    """A list on its way through the embed loop."""

    def __init__(
        self, texts: Sequence[str], embedder: TokenEmbedder, cache: VectorCache | None, task: Task, tell: OnProgress
    ) -> None:
        fingerprint = embedder.fingerprint.of_queries() if task == "query" else embedder.fingerprint
        self._array = Array(len(texts), embedder.dimension)
        self.items: Deduplicator[ListedText] = Deduplicator(self._array, fingerprint, cache=cache)
        self._texts = texts
        self._embedder = embedder
        self._cache = cache
        self._task = task
        self._tell = tell
        self._told = 0
        self._misses = 0
        self._unread: list[str] = []

    def encoded(self) -> Iterator[ListedText]:
        """The texts that need the model, with their token ids."""
        unknown = self.items.unknown(_hashed(self._texts, self._array))
        while window := list(itertools.islice(unknown, ENCODE_AT_ONCE)):
            self._misses += len(window)
            encoded = self._embedder.encode([item.input for item in window], task=self._task)
            for item, ids in zip(window, encoded, strict=True):
                item.ids = ids
                if is_unread(self._embedder, ids, self._task):
                    self._unread.append(item.input)
            yield from window

    def on_batch(self) -> None:
        """Tell how many are done; what is new goes to the cache now and then."""
        self.items.keep_new(KEPT_AT_ONCE)
        self._tell_done()

    def result(self) -> EmbeddedList:
        """What became of all."""
        self._tell_done()
        warn_of_documents(self._embedder.name, len(self._unread), "texts", *self._unread[:1])
        counts = {name: self.items.counts[name] for name in ("embedded", "cached", "duplicates", "tokens")}
        misses = 0 if self._cache is None else self._misses
        return EmbeddedList(self._array.vectors, self._array.causes, misses=misses, **counts)

    def _tell_done(self) -> None:
        if self._array.done > self._told:
            self._told = self._array.done
            self._tell(self._told)


def _hashed(texts: Sequence[str], array: Array) -> Iterator[list[ListedText]]:
    """The texts with what they are known by in the cache, as chunks without a context are; blank ones are rejected."""
    for first in range(0, len(texts), LOOK_UP_AT_ONCE):
        group = []
        for row, text in enumerate(texts[first : first + LOOK_UP_AT_ONCE], first):
            item = ListedText(row, text, NO_IDS, text_hash("", text))
            if text.strip():
                group.append(item)
            else:
                array.reject(item, BLANK)
        yield group
