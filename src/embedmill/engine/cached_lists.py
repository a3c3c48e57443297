"""Vectors of a list of texts, where each distinct text goes through the model once, and none that the cache has."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.core.checks import one_of
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TASKS, Task, TokenEmbedder
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, TokenIds, Vector, Vectors
from embedmill.engine.dedup import Deduplicator
from embedmill.engine.lists import ENCODE_AT_ONCE, Array, ListedText, OnProgress, checked, failed
from embedmill.engine.run import RunBatches, embed_items
from embedmill.engine.unread import is_unread, warn_of_documents

_LOOK_UP_AT_ONCE: Final = 512
"""Texts; few, so that the first ones are with the model while the others are looked up."""

_KEEP_AT_ONCE: Final = 256
"""Vectors in a transaction of the cache: some milliseconds for a second's work of the model."""

_NO_IDS: Final[TokenIds] = np.empty(0, np.int32)
"""Of a text that is not tokenised, and need not be where its vector is known."""


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

    Raises `TypeError` for anything but a list of texts, and `UsageError` for a task that there is not, and where `run`
    does not answer each batch. A text that fails raises nothing: see `EmbeddedList.causes`.
    """
    listed = checked(texts)
    one_of("task", task, TASKS)
    fingerprint = embedder.fingerprint.of_queries() if task == "query" else embedder.fingerprint
    array = Array(len(listed), embedder.dimension)
    items: Deduplicator[ListedText] = Deduplicator(array, fingerprint, cache=cache)
    new = _New(cache, fingerprint)
    unread: list[str] = []
    unknown = told = 0

    def encoded() -> Iterator[ListedText]:
        nonlocal unknown
        without_vector = items.unknown(_hashed(listed))
        while window := list(itertools.islice(without_vector, ENCODE_AT_ONCE)):
            unknown += len(window)
            for item, ids in zip(window, embedder.encode([each.input for each in window], task=task), strict=True):
                item.ids = ids
                if item.input.strip() and is_unread(embedder, ids, task):
                    unread.append(item.input)
            yield from window

    def tell() -> None:
        nonlocal told
        if on_progress is not None and array.done > told:
            told = array.done
            on_progress(told)

    def on_batch() -> None:
        new.add(items.take_new())
        tell()

    try:
        embed_items(encoded(), run, items, fingerprint.space, batch_size=batch_size, on_batch=on_batch)
    finally:
        new.add(items.take_new())
        new.keep()
    tell()
    warn_of_documents(embedder.name, len(unread), "texts", unread[0] if unread else "")
    counts = {name: items.counts[name] for name in ("embedded", "cached", "duplicates", "tokens")}
    return EmbeddedList(array.vectors, array.causes, misses=unknown if cache is not None else 0, **counts)


class _New:
    """Vectors of the model on their way to the cache, many in a transaction."""

    def __init__(self, cache: VectorCache | None, fingerprint: Fingerprint) -> None:
        self._cache = cache
        self._fingerprint = fingerprint
        self._vectors: dict[bytes, Vector] = {}

    def add(self, vectors: Mapping[bytes, Vector]) -> None:
        """Take some more."""
        self._vectors.update(vectors)
        if len(self._vectors) >= _KEEP_AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Put them into the cache, if there is one."""
        if self._cache is not None and self._vectors:
            self._cache.put_many(self._vectors, self._fingerprint)
        self._vectors = {}


def _hashed(texts: Sequence[str]) -> Iterator[list[ListedText]]:
    """The texts, with what they are known by in the cache: as chunks without a context are."""
    for first in range(0, len(texts), _LOOK_UP_AT_ONCE):
        window = texts[first : first + _LOOK_UP_AT_ONCE]
        # Lone surrogates are kept: "a\ud800" and "a?" are two texts.
        hashes = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in window)
        yield [
            ListedText(row, text, _NO_IDS, key)
            for row, text, key in zip(itertools.count(first), window, hashes, strict=False)
        ]
