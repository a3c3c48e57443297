"""What embedders of this process share: lists of texts are embedded by as many threads as they ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from embedmill.core.interfaces.embedder import Task
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, Embedded, TokenIds, Vector, Vectors
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.engine.lists import AT_ONCE, OnFailure, OnProgress, embed_each, some_texts
from embedmill.engine.validation import bisect_failures
from embedmill.runtime.closing import Closing
from embedmill.runtime.streams import ordered


class LocalEmbedder(Closing, ABC):
    """A `TokenEmbedder` of this process, as `embedmill.load_embedder` gives it. Closes at the end of a ``with`` block.

    A subclass sets the attributes and has the methods that are abstract here.
    """

    name: str
    """The model's name, for people."""
    dimension: int
    """Numbers in a vector."""
    normalized: bool
    """Whether vectors are of length 1."""
    max_tokens: int
    """Tokens the model reads of one text, prompt and special tokens included."""
    workers: int
    """Calls of the model that run at once."""
    concurrency: int
    """How many threads should call `infer` at once."""

    @property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors. Known without loading the model."""

    @property
    @abstractmethod
    def loaded(self) -> bool:
        """Whether the model is in memory."""

    @abstractmethod
    def load(self) -> None:
        """Load the model now; otherwise the first `infer` does."""

    @abstractmethod
    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        """Each text's token ids, prompt and special tokens included. Raises `UsageError` for another task."""

    @abstractmethod
    def infer(self, batch: Batch) -> Vectors:
        """The batch's vectors, ``(n, dimension)``, from one model call."""

    def embed(self, texts: Sequence[str], *, task: Task = "document", on_progress: OnProgress | None = None) -> Vectors:
        """Vectors of ``(len(texts), dimension)`` in the texts' order. Longer texts than the model reads are cut.

        Equal texts of the list go through the model once. `on_progress` is told after every batch how many texts are
        done. Raises `ValueError` for no texts, `TypeError` for anything but a list of texts (a single text is not one),
        `UsageError` for a task other than "document" and "query", and an `on_progress` that is no function, and
        `EmbeddingError`, which has the vectors of the others, where texts are empty or blank, or have no vector or one
        that no sound model gives (NaN, infinite, only zeros).
        """
        return embed_with_cache(some_texts(texts), self, self._run, None, task=task, on_progress=on_progress).complete()

    def embed_iter(
        self,
        texts: Iterable[str],
        *,
        task: Task = "document",
        at_once: int = AT_ONCE,
        on_progress: OnProgress | None = None,
        on_failure: OnFailure | None = None,
    ) -> Iterator[Vector]:
        """Each text's vector, ``(dimension,)``, in the texts' order: for millions of texts, in bounded memory.

        `at_once` texts are taken from `texts`, and embedded, before the first of their vectors is given. Errors are
        those of `embed`; where `on_failure` is given it is told of each text that has no vector, counted from 0, and
        why, and its vector is NaN.
        """
        return embed_each(texts, self.embed, task=task, at_once=at_once, on_progress=on_progress, on_failure=on_failure)

    def _run(self, calls: Iterable[Batch]) -> Iterator[Embedded]:
        def embedded(batch: Batch) -> Embedded:
            self.load()  # a model that cannot be loaded is no fault of the texts
            return bisect_failures(self, batch)[0]

        for _, found in ordered(embedded, calls, threads=self.concurrency):
            yield found
