"""Vectors on a list of chunks: which need the model, which fail alone, and when the whole is given up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from embedmill.core.documents import Chunk, Provenance
from embedmill.core.errors import EmbeddingError, EmbeddingGenerationError
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.reports import ProgressCallback
from embedmill.core.vectors import Cause, TokenIds, Vector, Vectors
from embedmill.engine.batching import capacity, padded
from embedmill.engine.list_run import ListRun
from embedmill.engine.lists import BLANK, LOOK_UP_AT_ONCE, NO_IDS, ListedText, failed
from embedmill.engine.run import RunBatches
from embedmill.engine.sink import Origin
from embedmill.engine.validation import VectorValidator

log = logging.getLogger(__name__)

_WITH_VECTOR: Final = ("kept", "embedded", "cached", "duplicates")
_COUNTED: Final = (*_WITH_VECTOR, "failed", "recomputed", "retried", "truncated", "batches", "misses", "tokens")

GIVEN_UP_AFTER: Final = 5
"""Full batches: where the first ones fail to the last text, it is the model that fails, and so would all others.

Full ones, since a short list is divided into smaller batches where there are more streams: five texts that fail are
then five texts, and not the model.
"""

_ROUNDING_ERROR: Final = 1e-6


class ChunkList:
    """The chunks of one call on their way to vectors. As a sink it takes what the embed loop gives.

    Every chunk becomes exactly one of kept, embedded, cached, duplicate or failed, unless an error ends the call: then
    those that are none of it were not tried, and have neither a vector nor a cause.
    """

    def __init__(self, chunks: Sequence[Chunk], embedder: TokenEmbedder, on_chunks: ProgressCallback | None) -> None:
        """Sort out which chunks need a vector; the given ones are not changed."""
        self.chunks = list(chunks)
        self.total = len(self.chunks)
        self.kept = self.recomputed = self.embedded = self.cached = self.duplicates = self.failed = 0
        self.retried = self.truncated = self.batches = 0
        self._embedder = embedder
        self._fingerprint = embedder.fingerprint
        self._validator = VectorValidator.of(self._fingerprint.space)
        self._on_chunks = on_chunks
        self._told = 0
        self._rejected: dict[int, Cause] = {}  # by the model: these may be tried again
        self._refused: dict[bytes, float] = {}  # by the model: of each text the share of a full batch that it is
        self._batch_size: int | None = None
        self._counts: Counter[str] = Counter()
        self._texts = list(self._needed())

    @property
    def processed(self) -> int:
        """Chunks that have a vector by now."""
        return self.kept + self.embedded + self.cached + self.duplicates

    def counts(self) -> dict[str, int]:
        """What has become of the chunks so far; those of which nothing has, as yet, are `pending`.

        Safe in any thread: whatever happens meanwhile, `total` is the sum of what has a vector, failed and is pending.
        """
        counts = {name: getattr(self, name) for name in _COUNTED}
        processed = sum(counts[name] for name in _WITH_VECTOR)
        pending = self.total - processed - counts["failed"]
        return counts | {"total": self.total, "processed": processed, "pending": pending}

    @property
    def tokens(self) -> int:
        """Of what the model has embedded."""
        return self._counts["tokens"]

    @property
    def misses(self) -> int:
        """Distinct texts that the cache was asked for in vain."""
        return self._counts["misses"]

    def _needed(self) -> Iterator[ListedText]:
        for row, chunk in enumerate(self.chunks):
            if (cause := without_text(chunk)) is not None:
                self._fail(row, cause)
            elif chunk.has_embedding_of(self._fingerprint) and self._is_sound(chunk.embedding):
                self.kept += 1
                self.chunks[row] = replace(chunk, embedding=np.array(chunk.embedding), cause=None)
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

        Raises `EmbeddingGenerationError` where the first batches fail altogether, and what `on_chunks` raises. What the
        model had rejected by then has its cause, whatever is raised.
        """
        self._batch_size = batch_size
        way = ListRun(self, self._embedder, self._encode, cache=cache, counts=self._counts)
        try:
            way.embed(_grouped(self._texts), run, batch_size=batch_size, on_batch=self._end_of_batch)
            if retry and self._rejected:
                again = [text for text in self._texts if text.row in self._rejected]
                self.retried = len(again)
                way.embed(_grouped(again), run, batch_size=1, on_batch=self._end_of_retry)
        finally:
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
        way.warn_of_unread("chunks")

    def _encode(self, texts: Sequence[str]) -> Sequence[TokenIds]:
        encoded = list(self._embedder.encode(texts, truncate=False))
        if long := [row for row, ids in enumerate(encoded) if len(ids) > self._embedder.max_tokens]:
            self.truncated += len(long)
            for row, ids in zip(long, self._embedder.encode([texts[row] for row in long]), strict=True):
                encoded[row] = ids
        return encoded

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
        if item.ids is not NO_IDS:
            self._refused.setdefault(item.hash, 1 / capacity(padded(len(item.ids)), self._batch_size))

    def _fail(self, row: int, cause: Cause) -> None:
        self.failed += 1
        self.chunks[row] = replace(self.chunks[row], embedding=None, provenance=None, cause=cause)

    def _end_of_batch(self) -> None:
        self.batches += 1
        if not self.embedded and sum(self._refused.values()) > GIVEN_UP_AFTER - _ROUNDING_ERROR:
            cause = self._rejected[min(self._rejected)]
            raise EmbeddingGenerationError(
                f"the first {self.batches} batches have failed to the last chunk, so the model does: "
                f"{cause.type}: {cause.message}"
            ) from self._failed_so_far()
        self._tell()

    def _failed_so_far(self) -> EmbeddingError:
        """What has failed, as the error of a list, with where in the model the first of it came from as its note."""
        causes = dict(sorted(self._rejected.items()))
        error = failed(self.total, embeddings_of(self.chunks, self._validator.dimension), causes)
        if trace := next(iter(causes.values())).trace:
            error.add_note(trace)
        return error

    def _end_of_retry(self) -> None:
        self.batches += 1
        self._tell()

    def _tell(self) -> None:
        done = self.processed + self.failed
        if self._on_chunks is not None and done > self._told:
            self._told = done
            self._on_chunks(done, self.total)


def without_text(chunk: Chunk) -> Cause | None:
    """Why a chunk cannot have a vector, where its text or its context is none; None where it may."""
    for name in ("text", "context"):
        value: object = getattr(chunk, name)
        if not isinstance(value, str):
            return Cause("TypeError", f"the {name} is a {type(value).__name__}")
    return None if chunk.text.strip() else BLANK


def embeddings_of(chunks: Sequence[Chunk], dimension: int) -> Vectors:
    """Their embeddings, ``(len(chunks), dimension)``; NaN for a chunk that has none."""
    none = np.full(dimension, np.nan, np.float32)
    return np.stack([none if chunk.embedding is None else chunk.embedding for chunk in chunks])


def with_embedding(chunk: Chunk, vector: Vector, embedder: TokenEmbedder, key: bytes) -> Chunk:
    """The chunk with a copy of the vector; `key` is the chunk's hash."""
    origin = Provenance(embedder.fingerprint, embedder.name, key)
    return replace(chunk, embedding=np.array(vector, np.float32), provenance=origin, cause=None)


def _grouped(texts: Sequence[ListedText]) -> Iterator[Sequence[ListedText]]:
    for first in range(0, len(texts), LOOK_UP_AT_ONCE):
        yield texts[first : first + LOOK_UP_AT_ONCE]
