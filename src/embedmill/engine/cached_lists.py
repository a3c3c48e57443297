"""Vectors of a list of texts, where each distinct text goes through the model once, and none that the cache has."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from embedmill.core.checks import callables, one_of
from embedmill.core.documents import text_hash
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TASKS, Task, TokenEmbedder
from embedmill.core.vectors import Cause, Vectors
from embedmill.engine.list_run import ListRun
from embedmill.engine.lists import BLANK, LOOK_UP_AT_ONCE, NO_IDS, Array, ListedText, OnProgress, failed
from embedmill.engine.run import RunBatches

COUNTED: Final = ("embedded", "cached", "duplicates", "misses", "tokens")
"""What is counted of a list, beside its texts and those that failed; see `EmbeddedList`."""


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
        counts = {"texts": len(self.vectors), "failed": len(self.causes)}
        return counts | {name: getattr(self, name) for name in COUNTED}

    def complete(self) -> Vectors:
        """The vectors, all of them sound. Raises `EmbeddingError`, which has them too, where texts have none."""
        if self.causes:
            raise failed(len(self.vectors), self.vectors, self.causes)
        return self.vectors


class ListCounts:
    """What became of the texts of all lists so far; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counter(dict.fromkeys(("texts", "failed", *COUNTED), 0))

    def add(self, made: EmbeddedList) -> None:
        """Count a list in."""
        with self._lock:
            self._counts.update(made.counts())

    def to_dict(self) -> dict[str, int]:
        """The counts by the names of `EmbeddedList`, with the number of `texts`."""
        with self._lock:
            return dict(self._counts)


def embed_with_cache(
    texts: Sequence[str],
    embedder: TokenEmbedder,
    run: RunBatches,
    cache: VectorCache | None,
    *,
    task: Task = "document",
    batch_size: int | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddedList:
    """Embed what neither the cache nor an equal text of the list has a vector for; None: without a cache.

    `texts` are as `some_texts` gives them. `run` is an executor's, or does as one; `batch_size` limits the texts of a
    batch, by default its tokens alone do. New vectors are kept in the cache while the run goes on, and where it ends by
    an error too. `on_progress` is told how many texts are done, at last that all are; it never goes back.

    Raises `UsageError` for a task that there is not, for an `on_progress` that is no function, and where `run` does not
    answer each batch. A text that fails raises nothing, nor does one that is empty or blank: see `EmbeddedList.causes`.
    """
    one_of("task", task, TASKS)
    callables(on_progress=on_progress)
    array = Array(len(texts), embedder.dimension)
    counts: Counter[str] = Counter()
    way = ListRun(array, embedder, partial(embedder.encode, task=task), cache=cache, counts=counts, task=task)
    told = 0

    def on_batch() -> None:
        nonlocal told
        if on_progress is not None and array.done > told:
            told = array.done
            on_progress(told)

    way.embed(_hashed(texts, array), run, batch_size=batch_size, on_batch=on_batch)
    on_batch()
    way.warn_of_unread("texts")
    return EmbeddedList(array.vectors, array.causes, **{name: counts[name] for name in COUNTED})


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
