"""Vectors on a list of chunks: which need the model, which fail alone, and when the whole is given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

import numpy as np

from embedmill.core.documents import Chunk, Provenance
from embedmill.core.errors import EmbeddingGenerationError
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.reports import ProgressCallback
from embedmill.core.vectors import Cause, Vector
from embedmill.engine.dedup import KEPT_AT_ONCE, Deduplicator
from embedmill.engine.lists import BLANK, ENCODE_AT_ONCE, LOOK_UP_AT_ONCE, NO_IDS, ListedText
from embedmill.engine.run import RunBatches, embed_items
from embedmill.engine.sink import Origin
from embedmill.engine.unread import is_unread, warn_of_documents
from embedmill.engine.validation import VectorValidator

log = logging.getLogger(__name__)

GIVEN_UP_AFTER: Final = 5
"""Batches: where the first ones fail to the last text, it is the model that fails, and so would all others."""


class ChunkList:
    """The chunks of one call on their way to vectors. As a sink it takes what the embed loop gives.

    Every chunk becomes exactly one of kept, embedded, cached, duplicate or failed.
    """

    def __init__(self, chunks: Sequence[Chunk], embedder: TokenEmbedder, on_chunks: ProgressCallback | None) -> None:
        """Sort out which chunks need a vector; the given ones are not changed."""
        self.chunks = list(chunks)
        self.total = len(self.chunks)
        self.kept = self.recomputed = self.embedded = self.cached = self.duplicates = self.failed = 0
        self.retried = self.truncated = self.batches = self.tokens = self.misses = 0
        self._embedder = embedder
        self._fingerprint = embedder.fingerprint
        self._validator = VectorValidator.of(self._fingerprint.space)
        self._on_chunks = on_chunks
        self._told = 0
        self._rejected: dict[int, Cause] = {}  # by the model: these may be tried again
        self._unread: list[str] = []
        self._texts = list(self._needed())

    @property
    def processed(self) -> int:
        """Chunks that have a vector by now."""
        return self.kept + self.embedded + self.cached + self.duplicates

    def _needed(self) -> Iterator[ListedText]:
        for row, chunk in enumerate(self.chunks):
            text: object = chunk.text
            if not isinstance(text, str):
                self._fail(row, Cause("TypeError", f"the text is a {type(text).__name__}"))
            elif not chunk.text.strip():
                self._fail(row, BLANK)
            elif chunk.has_embedding_of(self._fingerprint) and self._is_sound(chunk.embedding):
                self.kept += 1
            else:
                if chunk.embedding is not None or chunk.cause is not None:
                    self.recomputed += chunk.embedding is not None
                    self.chunks[row] = replace(chunk, embedding=None, provenance=None, cause=None)
                yield ListedText(row, chunk.input, NO_IDS, chunk.hash)

    def _is_sound(self, embedding: Vector | None) -> bool:
        """Whether a chunk's vector can be what the model gave: its owner may have put another array in its place."""
        vector = np.asarray(embedding)
        fits = vector.dtype == np.float32 and vector.shape == (self._validator.dimension,)
        return fits and not self._validator.check(vector[None])

    def embed(self, run: RunBatches, cache: VectorCache | None, batch_size: int | None, *, retry: bool) -> None:
        """Embed what needs a vector; with `retry`, each text that fails once more, alone.

        Raises `EmbeddingGenerationError` where the first batches fail altogether, and what `on_chunks` raises.
        """
        self._run(self._texts, run, cache, batch_size, self._end_of_batch)
        if retry and self._rejected:
            again = [text for text in self._texts if text.row in self._rejected]
            self.retried = len(again)
            self._run(again, run, cache, 1, self._tell)
        for row, cause in self._rejected.items():
            self._fail(row, cause)
        self._tell()
        if self.truncated:
            log.warning(
                "%d of %d chunks are longer than the %d tokens that %s reads: only their beginning is in their vectors",
                self.truncated,
                self.total,
                self._embedder.max_tokens,
                self._embedder.name,
            )
        warn_of_documents(self._embedder.name, len(self._unread), "chunks", *self._unread[:1])

    def _run(
        self,
        texts: Sequence[ListedText],
        run: RunBatches,
        cache: VectorCache | None,
        batch_size: int | None,
        on_batch: Callable[[], None],
    ) -> None:
        items: Deduplicator[ListedText] = Deduplicator(self, self._fingerprint, cache=cache)

        def end_of_batch() -> None:
            items.keep_new(KEPT_AT_ONCE)
            self.batches += 1
            on_batch()

        try:
            encoded = self._encoded(items.unknown(_grouped(texts)), counted=cache is not None)
            embed_items(encoded, run, items, self._fingerprint.space, batch_size=batch_size, on_batch=end_of_batch)
        finally:
            self.tokens += items.counts["tokens"]
            items.keep_new()

    def _encoded(self, texts: Iterator[ListedText], *, counted: bool) -> Iterator[ListedText]:
        most = self._embedder.max_tokens
        while window := list(islice(texts, ENCODE_AT_ONCE)):
            fresh = [text for text in window if text.ids is NO_IDS]
            self.misses += len(fresh) if counted else 0
            self._encode(fresh, truncate=False)
            long = [text for text in fresh if len(text.ids) > most]
            self._encode(long, truncate=True)
            self.truncated += len(long)
            self._unread += [text.input for text in fresh if is_unread(self._embedder, text.ids)]
            yield from window

    def _encode(self, texts: Sequence[ListedText], *, truncate: bool) -> None:
        encoded = self._embedder.encode([text.input for text in texts], truncate=truncate) if texts else []
        for text, ids in zip(texts, encoded, strict=True):
            text.ids = ids

    def accept(self, item: ListedText, vector: Vector, origin: Origin) -> None:
        """Put a vector into its chunk."""
        if origin == "embedded":
            self.embedded += 1
        elif origin == "cached":
            self.cached += 1
        else:
            self.duplicates += 1
        self._rejected.pop(item.row, None)
        self.chunks[item.row] = with_embedding(self.chunks[item.row], vector, self._embedder, item.hash)

    def reject(self, item: ListedText, cause: Cause) -> None:
        """Note why a chunk has no vector as yet."""
        self._rejected[item.row] = cause

    def _fail(self, row: int, cause: Cause) -> None:
        self.failed += 1
        self.chunks[row] = replace(self.chunks[row], embedding=None, provenance=None, cause=cause)

    def _end_of_batch(self) -> None:
        if self.batches == GIVEN_UP_AFTER and self._rejected and not self.embedded:
            cause = self._rejected[min(self._rejected)]
            raise EmbeddingGenerationError(
                f"the first {self.batches} batches have failed to the last chunk, so the model does: "
                f"{cause.type}: {cause.message}"
            )
        self._tell()

    def _tell(self) -> None:
        done = self.processed + self.failed
        if self._on_chunks is not None and done > self._told:
            self._told = done
            self._on_chunks(done, self.total)


def with_embedding(chunk: Chunk, vector: Vector, embedder: TokenEmbedder, key: bytes) -> Chunk:
    """The chunk with a copy of the vector; `key` is the chunk's hash."""
    origin = Provenance(embedder.fingerprint, embedder.name, key)
    return replace(chunk, embedding=np.array(vector, np.float32), provenance=origin, cause=None)


def _grouped(texts: Sequence[ListedText]) -> Iterator[Sequence[ListedText]]:
    for first in range(0, len(texts), LOOK_UP_AT_ONCE):
        yield texts[first : first + LOOK_UP_AT_ONCE]
