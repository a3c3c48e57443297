"""A list on its way through the embed loop: each distinct text once, and none whose vector the cache has."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from embedmill.core.errors import EmbedmillError
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import Task, TokenEmbedder
from embedmill.core.vectors import Cause, TokenIds
from embedmill.engine.dedup import KEPT_AT_ONCE, Deduplicator
from embedmill.engine.lists import ENCODE_AT_ONCE, NO_IDS, ListedText
from embedmill.engine.run import RunBatches, embed_in_turns, embed_items
from embedmill.engine.sink import Sink
from embedmill.engine.unread import is_unread, warn_of_documents

Encode = Callable[[Sequence[str]], Sequence[TokenIds]]
"""Tokenises texts."""


class ListRun:
    """What every call with a list of its own needs beside its sink, with what is counted on the way."""

    def __init__(
        self,
        sink: Sink[ListedText],
        embedder: TokenEmbedder,
        encode: Encode,
        *,
        cache: VectorCache | None,
        counts: Counter[str],
        task: Task = "document",
    ) -> None:
        """`encode` gives the token ids of texts that have none as yet.

        `counts` are kept as a `Deduplicator` keeps them, with the distinct texts that the cache was asked for in vain
        as its misses.
        """
        self._counts = counts
        self._embedder = embedder
        self._encode = encode
        self._task = task
        self._cached = cache is not None
        self._unread: list[str] = []
        fingerprint = embedder.fingerprint.of_queries() if task == "query" else embedder.fingerprint
        self._items = Deduplicator(sink, fingerprint, model=embedder.name, cache=cache, counts=counts)

    def embed(
        self,
        groups: Iterable[Sequence[ListedText]],
        run: RunBatches,
        *,
        batch_size: int | None,
        on_batch: Callable[[], None],
    ) -> None:
        """Have the sink told of each text of the groups. Arguments and errors are those of `embed_items`.

        New vectors are kept in the cache while the run goes on, and where it ends by an error too.
        """
        items = self._items

        def end_of_batch() -> None:
            items.keep_new(KEPT_AT_ONCE)
            on_batch()

        def embed(unknown: Iterable[ListedText]) -> None:
            try:
                embed_items(
                    self._encoded(iter(unknown)),
                    run,
                    items,
                    items.fingerprint.space,
                    batch_size=batch_size,
                    streams=self._embedder.workers,
                    on_batch=end_of_batch,
                )
            finally:
                items.keep_new()

        embed_in_turns(groups, items, embed)

    def _encoded(self, texts: Iterator[ListedText]) -> Iterator[ListedText]:
        while window := list(itertools.islice(texts, ENCODE_AT_ONCE)):
            if fresh := [text for text in window if text.ids is NO_IDS]:
                self._counts["misses"] += len(fresh) if self._cached else 0
                self._give_ids(fresh)
            yield from (text for text in window if text.ids is not NO_IDS)

    def _give_ids(self, texts: Sequence[ListedText]) -> None:
        """Tokenise; a text that an embedder of the caller's own fails on is found by halving, and rejected."""
        try:
            encoded = list(zip(texts, self._encode([text.input for text in texts]), strict=True))
        except EmbedmillError:
            raise
        except Exception as error:
            if len(texts) == 1:
                self._items.reject(texts[0], Cause.of(error))
                return
            middle = len(texts) // 2
            self._give_ids(texts[:middle])
            self._give_ids(texts[middle:])
            return
        for text, ids in encoded:
            text.ids = ids
            if is_unread(self._embedder, ids, self._task):
                self._unread.append(text.input)

    def warn_of_unread(self, what: str) -> None:
        """Say how many of the list, which is one of texts or chunks, the model cannot read."""
        warn_of_documents(self._embedder.name, len(self._unread), what, *self._unread[:1])
